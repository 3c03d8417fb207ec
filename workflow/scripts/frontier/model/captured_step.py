"""A training step captured in CUDA graphs, one for each of a few padded lengths."""

import random
from contextlib import nullcontext
from itertools import accumulate

import torch
import torch.nn.functional as F

from frontier.machine.device import synchronize
from frontier.model import loss, packing
from frontier.model.card import Card
from frontier.model.cuda_graphs import CudaGraphs
from frontier.model.data.tokens import IGNORED
from frontier.model.levers import DECODERS

# Rotary embeddings whose arithmetic depends on the values of positions, which a graph cannot do.
_VALUE_DEPENDENT_ROPE = ("dynamic", "longrope")
# Tokens: rows are padded to whole multiples of this.
_MULTIPLE = 32
# Tokens that are embedded at a time: what that takes, before it is copied into the row, is outside the graphs' memory.
_EMBEDDED_AT_ONCE = 256


def is_capturable(model, dtype: torch.dtype, is_random: bool, card: Card) -> bool:
    """Return whether the model's step can be captured: a dense decoder in 16 bits, no dropout, a recent GPU."""
    causal = loss.causal_model(model)
    rope = getattr(causal.config, "rope_parameters", None) or {}
    return (
        card.has_varlen
        and causal.config.model_type in DECODERS
        and rope.get("rope_type") not in _VALUE_DEPENDENT_ROPE
        and loss.head_is_matrix(causal)
        and dtype != torch.float32
        and not is_random
        and not getattr(causal, "is_loaded_in_8bit", False)
    )


def row_lengths(lengths: list[int], examples: int, count: int = 6) -> list[int]:
    """Return at most `count` lengths, ascending, to which rows of so many `examples` are padded, most of them little.

    `lengths` are those of the data set's examples in tokens. The result is from the lengths of rows drawn at random,
    of which about one in 500 is longer than the longest.
    """
    draw = random.Random(0)
    totals = sorted(sum(draw.sample(lengths, min(examples, len(lengths)))) for _ in range(1000))
    shares = [*(share / (count - 1) for share in range(1, count - 1)), 0.95, 0.998][-count:]
    return sorted({-(-totals[int(share * (len(totals) - 1))] // _MULTIPLE) * _MULTIPLE for share in shares})


class CapturedStep:
    """The forward and backward pass of a micro-batch, captured once for each of a few padded lengths and replayed.

    Gradients are added to the parameters' `grad`, as `backward` would. `lengths` are those of the data set's examples
    in tokens, `examples` the most that a micro-batch has. A micro-batch that is too long for every graph is computed in
    two parts. All graphs read the same row, which lies at a fixed address and is filled before each replay, and share a
    pool of memory. Each capture is made inside a context, `capturing()`. `graphs` captures and replays; None is CUDA's.
    """

    def __init__(self, model, lengths: list[int], examples: int, capturing=nullcontext, graphs=None):
        self.model, self.examples, self.capturing = model, examples, capturing
        self.lengths = row_lengths(lengths, examples)
        self.lengths[-1] = max(self.lengths[-1], -(-max(lengths) // _MULTIPLE) * _MULTIPLE)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.gradients = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.device = self.gradients[0].device
        self.graphs = graphs or CudaGraphs(self.device)
        self.row = self._empty_row(self.lengths[-1])
        # Of each length captured so far, the graph and the summed loss that a replay leaves.
        self.captured: dict[int, tuple] = {}

    def __call__(self, batch: dict, factor: torch.Tensor) -> torch.Tensor:
        """Add the gradients of `factor` x the summed loss of a batch from `packing.collate`; return the summed loss."""
        self.keep_gradients()
        with self.graphs.on_stream():
            if not self.captured:
                with self.capturing():
                    self._capture_longest()
            return self._replay(batch, factor)

    def capture(self, length: int) -> None:
        """Capture the passes of rows padded to `length`, one of `self.lengths`."""
        row = self._cut(length)
        self.captured[length] = self.graphs.capture(lambda: self._pass(row, length))

    def give_up(self) -> None:
        """Free all graphs; the gradients so far stay in the parameters' `grad`."""
        synchronize(self.device)
        self.captured.clear()

    def keep_gradients(self) -> None:
        """If the Trainer dropped the gradients, put the same tensors back, zeroed: graphs write to fixed addresses."""
        if self.parameters[0].grad is None:
            torch._foreach_zero_(self.gradients)
            for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
                parameter.grad = gradient

    def _replay(self, batch: dict, factor: torch.Tensor) -> torch.Tensor:
        tokens = batch["input_ids"].shape[1]
        if tokens > self.lengths[-1]:
            return sum(self._replay(part, factor) for part in packing.halves(batch))
        length = next(length for length in self.lengths if length >= tokens)
        if length not in self.captured:
            with self.capturing():
                self.capture(length)
        graph, result = self.captured[length]
        self._fill(self._cut(length), batch, length - tokens, factor)
        graph.replay()
        return result.clone()

    def _capture_longest(self) -> None:
        """Warm up (loads all kernels) on a row without targets, then capture the longest length: it sizes the pool."""
        length = self.lengths[-1]
        row = self._cut(length)
        self.graphs.warm_up(lambda: self._pass(row, length))
        self.capture(length)

    def _cut(self, length: int) -> dict:
        """Return a view of the row's first `length` tokens."""
        return {name: value[:, :length] if value.dim() > 1 else value for name, value in self.row.items()}

    def _empty_row(self, length: int) -> dict:
        """Return a row of one example without targets, on the device.

        `embedded` is (1, length, width), `positions` and `targets` are (1, length). `borders`, where each example
        begins and the last one ends, is (examples + 2,), since the padding is an example too. `factor` is a number.
        """
        whole = {"dtype": torch.long, "device": self.device}
        one = self._embed(torch.zeros(1, 1, **whole))
        row = {
            "embedded": one.new_zeros(1, length, one.shape[2]),
            "positions": torch.zeros(1, length, **whole),
            "targets": torch.full((1, length), IGNORED, **whole),
            "borders": torch.full((self.examples + 2,), length, dtype=torch.int32, device=self.device),
            "factor": torch.zeros((), device=self.device),
        }
        row["borders"][0] = 0
        return row

    @torch.no_grad()
    def _fill(self, row: dict, batch: dict, padding: int, factor: torch.Tensor) -> None:
        """Copy a batch into the row, padded by so many tokens."""
        length = row["positions"].shape[1]
        ids = F.pad(batch["input_ids"], (0, padding))
        parts = ids.split(_EMBEDDED_AT_ONCE, 1), row["embedded"].split(_EMBEDDED_AT_ONCE, 1)
        for part, place in zip(*parts, strict=True):
            place.copy_(self._embed(part))
        row["positions"].copy_(F.pad(batch["position_ids"], (0, padding)))
        row["targets"].copy_(F.pad(batch["labels"][:, 1:], (0, padding + 1), value=IGNORED))
        ends = [0, *accumulate(batch["lengths"])]
        ends += [length] * (self.examples + 2 - len(ends))
        row["borders"].copy_(torch.tensor(ends, dtype=torch.int32))
        row["factor"].copy_(factor)

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        return loss.causal_model(self.model).get_input_embeddings()(ids)

    def _pass(self, row: dict, length: int) -> torch.Tensor:
        """Add a row's gradients; return its summed loss."""
        # The padding counts as the last example, and may be longer than any other: so `longest` is the whole row.
        shape = {"borders": row["borders"], "longest": length}
        summed = loss.summed_loss(self.model, row["embedded"], row["positions"], row["targets"], **shape)
        (summed * row["factor"]).backward()
        return summed.detach()
