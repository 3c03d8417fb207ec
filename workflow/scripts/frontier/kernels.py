"""The levers that make a GPU fast without changing what is learned: fused kernels and recorded steps.

At a batch of a few examples a GPU waits for Python: a step of a 7B model is some ten thousand kernels, most over
before the next is launched. Fused kernels make them fewer; a CUDA graph launches all of them at once.
"""

import importlib.util
from itertools import accumulate

import torch
import torch.nn.functional as F

from frontier import loss, packing
from frontier.data import IGNORED

# Dense decoders whose forward pass neither waits for the device nor depends on its values, as a CUDA graph needs.
_RECORDABLE = ("llama", "mistral", "qwen2", "qwen3")
_VALUE_DEPENDENT_ROPE = ("dynamic", "longrope")
_LEAST_STEP = 16


def fuse(model) -> bool:
    """Give the model liger-kernel's norms, gated activation and rotary embedding; False where they are not there."""
    if not importlib.util.find_spec("liger_kernel"):
        print("liger-kernel is not installed: kernels stay unfused and training is slower", flush=True)
        return False
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN, _apply_liger_kernel_to_instance

    if model.config.model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        return False
    _apply_liger_kernel_to_instance(model, cross_entropy=False, fused_linear_cross_entropy=False)
    return True


def is_recordable(model, dtype: torch.dtype, dropout: float, device: torch.device) -> bool:
    """Whether `RecordedStep` can hold the model's step: a dense decoder in 16 bits, no dropout, a recent GPU."""
    causal = loss.causal_model(model)
    rope = getattr(causal.config, "rope_parameters", None) or {}
    return (
        packing.has_varlen(device)
        and causal.config.model_type in _RECORDABLE
        and rope.get("rope_type") not in _VALUE_DEPENDENT_ROPE
        and loss.head_is_matrix(causal)
        and dtype != torch.float32
        and not dropout
        and not getattr(causal, "is_loaded_in_8bit", False)
    )


def padded_length(tokens: int) -> int:
    """The next of the lengths that rows are padded to: eight to a doubling, so that padding stays near 4%."""
    step = max(_LEAST_STEP, 2 ** (tokens.bit_length() - 4))
    return -(-tokens // step) * step


class RecordedStep:
    """The forward and backward pass of a micro-batch: run once for each padded length, then recorded and replayed.

    Gradients are added to the parameters' `grad`, as `backward` would. `longest` is the longest example's length in
    tokens, `examples` the most there are in a micro-batch. All recordings share one pool of memory.
    """

    def __init__(self, model, longest: int, examples: int):
        self.model, self.longest, self.examples = model, longest, examples
        self.device = next(model.parameters()).device
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.gradients = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.stream = torch.cuda.Stream(self.device)
        self.pool = torch.cuda.graph_pool_handle()
        self.rows: dict[int, dict] = {}
        self.recorded: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}

    def __call__(self, batch: dict, factor: torch.Tensor) -> torch.Tensor:
        """Add the gradients of `factor` x summed loss of what `packing.collate` made; return the summed loss."""
        tokens = batch["input_ids"].shape[1]
        length = padded_length(tokens)
        self._keep_gradients()
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            known = length in self.rows
            if not known:
                self.rows[length] = self._empty_row(length)
            row = self.rows[length]
            self._fill(row, batch, tokens, length, factor)
            if not known:
                summed = self._pass(row, length)
            else:
                if length not in self.recorded:
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
                        result = self._pass(row, length)
                    self.recorded[length] = graph, result
                graph, result = self.recorded[length]
                graph.replay()
                summed = result.clone()
        torch.cuda.current_stream(self.device).wait_stream(self.stream)
        return summed

    def _keep_gradients(self) -> None:
        """Recordings write to fixed addresses: put the same gradients back where the Trainer has dropped them."""
        if self.parameters[0].grad is None:
            torch._foreach_zero_(self.gradients)
            for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
                parameter.grad = gradient

    def _empty_row(self, length: int) -> dict:
        whole = {"dtype": torch.long, "device": self.device}
        return {
            "ids": torch.zeros(1, length, **whole),
            "positions": torch.zeros(1, length, **whole),
            "targets": torch.full((1, length), IGNORED, **whole),
            "borders": torch.zeros(self.examples + 2, dtype=torch.int32, device=self.device),
            "factor": torch.zeros((), device=self.device),
        }

    def _fill(self, row: dict, batch: dict, tokens: int, length: int, factor: torch.Tensor) -> None:
        padding = (0, length - tokens)
        row["ids"].copy_(F.pad(batch["input_ids"], padding))
        row["positions"].copy_(F.pad(batch["position_ids"], padding))
        row["targets"].copy_(F.pad(batch["labels"][:, 1:], (0, length - tokens + 1), value=IGNORED))
        ends = [0, *accumulate(batch["lengths"])]
        ends += [length] * (self.examples + 2 - len(ends))
        row["borders"].copy_(torch.tensor(ends, dtype=torch.int32))
        row["factor"].copy_(factor)

    def _pass(self, row: dict, length: int) -> torch.Tensor:
        longest = max(self.longest, length // 8, _LEAST_STEP)
        summed = loss.summed_loss(self.model, row["ids"], row["positions"], row["targets"], row["borders"], longest)
        (summed * row["factor"]).backward()
        return summed.detach()
