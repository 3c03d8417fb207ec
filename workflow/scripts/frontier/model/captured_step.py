"""A training step captured in CUDA graphs, one for each of a few padded lengths."""

import random
from contextlib import nullcontext
from itertools import accumulate

import torch
import torch.nn.functional as F

from frontier.model import loss, packing
from frontier.model.data.tokens import IGNORED
from frontier.model.levers import DECODERS

_VALUE_DEPENDENT_ROPE = ("dynamic", "longrope")
_MULTIPLE = 32
# Tokens; what a row's embeddings take before they lie in it comes on top of all recordings.
_EMBEDDED_AT_ONCE = 256


def is_capturable(model, dtype: torch.dtype, dropout: float, device: torch.device) -> bool:
    """Whether `RecordedStep` can hold the model's step: a dense decoder in 16 bits, no dropout, a recent GPU."""
    causal = loss.causal_model(model)
    rope = getattr(causal.config, "rope_parameters", None) or {}
    return (
        packing.has_varlen(device)
        and causal.config.model_type in DECODERS
        and rope.get("rope_type") not in _VALUE_DEPENDENT_ROPE
        and loss.head_is_matrix(causal)
        and dtype != torch.float32
        and not dropout
        and not getattr(causal, "is_loaded_in_8bit", False)
    )


def row_lengths(lengths: list[int], examples: int, count: int = 6) -> list[int]:
    """At most `count` lengths, ascending, to pad rows of so many `examples` to, so that most rows are padded little.

    `lengths` are the data set's examples' in tokens. Rows are drawn at random; about one in 500 is longer than all.
    """
    draw = random.Random(0)
    totals = sorted(sum(draw.sample(lengths, min(examples, len(lengths)))) for _ in range(1000))
    shares = [*(share / (count - 1) for share in range(1, count - 1)), 0.95, 0.998][-count:]
    return sorted({-(-totals[int(share * (len(totals) - 1))] // _MULTIPLE) * _MULTIPLE for share in shares})


class CapturedStep:
    """The forward and backward pass of a micro-batch, recorded once for each of a few padded lengths and replayed.

    Gradients are added to the parameters' `grad`, as `backward` would. `lengths` are the examples' in tokens,
    `examples` the most there are in a micro-batch; one too long for every recording is taken in two parts. All
    recordings share one pool of memory and the row that they read, and nothing is ever computed outside of the pool.
    Each is made inside a context of its own, `recording()`.
    """

    def __init__(self, model, lengths: list[int], examples: int, recording=nullcontext):
        self.model, self.examples, self.recording = model, examples, recording
        self.lengths = row_lengths(lengths, examples)
        self.lengths[-1] = max(self.lengths[-1], -(-max(lengths) // _MULTIPLE) * _MULTIPLE)
        packing.check_window(getattr(loss.causal_model(model).config, "sliding_window", None), lengths)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.gradients = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.device = self.gradients[0].device
        self.stream = torch.cuda.Stream(self.device)
        self.pool = torch.cuda.graph_pool_handle()
        self.row = self._empty_row(self.lengths[-1])
        self.recorded: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}

    def __call__(self, batch: dict, factor: torch.Tensor) -> torch.Tensor:
        """Add the gradients of `factor` x summed loss of what `packing.collate` made; return the summed loss."""
        self.keep_gradients()
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            if not self.recorded:
                with self.recording():
                    self._warm_up()
            summed = self._replay(batch, factor)
        torch.cuda.current_stream(self.device).wait_stream(self.stream)
        return summed

    def give_up(self) -> None:
        """Free all recordings; the gradients so far stay in the parameters' `grad`."""
        torch.cuda.synchronize(self.device)
        self.recorded.clear()

    def _replay(self, batch: dict, factor: torch.Tensor) -> torch.Tensor:
        tokens = batch["input_ids"].shape[1]
        if tokens > self.lengths[-1]:
            return sum(self._replay(part, factor) for part in packing.halves(batch))
        length = next(length for length in self.lengths if length >= tokens)
        if length not in self.recorded:
            with self.recording():
                self._record(length)
        graph, result = self.recorded[length]
        self._fill(self._cut(length), batch, length - tokens, factor)
        graph.replay()
        return result.clone()

    def _warm_up(self) -> None:
        """Load every kernel that a recording may meet, on a row without targets, and size the pool by the longest."""
        length = self.lengths[-1]
        self._pass(self._cut(length), length)
        self._record(length)

    def _record(self, length: int) -> None:
        graph, row = torch.cuda.CUDAGraph(), self._cut(length)
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            result = self._pass(row, length)
        self.recorded[length] = graph, result

    def _cut(self, length: int) -> dict:
        """The first `length` tokens of the row, where they lie."""
        return {name: value[:, :length] if value.dim() > 1 else value for name, value in self.row.items()}

    def keep_gradients(self) -> None:
        """Recordings write to fixed addresses: put the same gradients back where the Trainer has dropped them."""
        if self.parameters[0].grad is None:
            torch._foreach_zero_(self.gradients)
            for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
                parameter.grad = gradient

    def _empty_row(self, length: int) -> dict:
        """A row of one example without targets: `embedded` (1, length, width), the rest as `packing.collate` has it."""
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
        # The padding is an example too, the last one, and may be longer than all others.
        shape = {"borders": row["borders"], "longest": length}
        summed = loss.summed_loss(self.model, row["embedded"], row["positions"], row["targets"], **shape)
        (summed * row["factor"]).backward()
        return summed.detach()
