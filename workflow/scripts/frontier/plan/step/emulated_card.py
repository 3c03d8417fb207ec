"""Code that asks for a card finds the one that a plan is for, whether or not any is there."""

import contextlib
import warnings
from dataclasses import dataclass
from unittest import mock

import torch

from frontier.model import captured_step, dtypes, levers, packing
from frontier.plan.step import stand_ins
from frontier.plan.step.tracer import Tracer


@dataclass(frozen=True)
class TargetDevice:
    """What of a device decides which code runs: whether it is a card, and its CUDA compute capability."""

    cuda: bool
    capability: tuple[int, int] = (8, 0)

    @property
    def torch_device(self) -> torch.device:
        return torch.device("cuda", 0) if self.cuda else torch.device("cpu")


def compute_dtype(request: dict, device: TargetDevice) -> torch.dtype:
    """The dtype of a run's products on a card that need not be there."""
    with mock.patch("torch.cuda.is_bf16_supported", return_value=device.capability >= (8, 0)):
        return dtypes.compute_dtype(request["compute_dtype"], request["precision"], device.torch_device)


@contextlib.contextmanager
def quiet():
    """Without the warnings of models made, not loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def card(device: TargetDevice):
    """Let the code find the card that the plan is for, and run what needs its drivers by stand-ins."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            mock.patch.object(packing, "has_varlen", return_value=device.cuda and device.capability >= (8, 0))
        )
        if device.cuda:
            stack.enter_context(mock.patch.object(levers, "fuse", stand_ins.fuse))
            stack.enter_context(mock.patch.object(levers, "offload_embeddings", stand_ins.offload_embeddings))
        attention = stand_ins.flash_attention if device.cuda else stand_ins.cpu_attention
        stack.enter_context(mock.patch("torch.nn.functional.scaled_dot_product_attention", attention))
        for name in ("torch.utils._foreach_utils._get_foreach", "torch.optim.optimizer._get_fused"):
            # Fused and grouped kernels are refused to tensors without content, though they run.
            supported = mock.patch(f"{name}_kernels_supported_devices", return_value=["meta", "cuda"])
            stack.enter_context(supported)
        yield


@contextlib.contextmanager
def passes(recorder: Tracer):
    """Tell the recorder when a backward pass begins, and when what is allocated belongs to a CUDA graph."""
    backward = torch.Tensor.backward

    def marked(*args, **kwargs):
        recorder.phase = "backward"
        backward(*args, **kwargs)
        recorder.phase = "forward"

    class Graph:
        """A CUDA graph: what is done while it is recorded is done again by each replay."""

        def __init__(self):
            self.operations = []

        def replay(self):
            recorder.trace.operations += self.operations

    @contextlib.contextmanager
    def record(graph, **_):
        recorder.recorded, recorder.operations = True, graph.operations
        yield
        recorder.recorded, recorder.operations = False, recorder.trace.operations

    names = ("Stream", "graph_pool_handle", "current_stream", "empty_cache")

    def warm_up(step):
        # The recording that follows allocates the same, in the graphs' own memory.
        step._record(step.lengths[-1])

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(torch.Tensor, "backward", marked))
        stack.enter_context(mock.patch.object(captured_step.CapturedStep, "_warm_up", warm_up))
        stack.enter_context(mock.patch.object(torch.cuda, "graph", record))
        stack.enter_context(mock.patch.object(torch.cuda, "CUDAGraph", Graph))
        stack.enter_context(mock.patch.object(torch.cuda, "stream", contextlib.nullcontext))
        for name in names:
            stack.enter_context(mock.patch.object(torch.cuda, name, mock.MagicMock()))
        yield
