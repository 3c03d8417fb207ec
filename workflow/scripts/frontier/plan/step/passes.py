"""Adapt torch to a trace on the meta device: note where a backward pass begins, and allow grouped kernels there."""

import contextlib

import torch
from torch.optim import optimizer as torch_optimizer
from torch.overrides import TorchFunctionMode
from torch.utils import _foreach_utils

from frontier.machine.substitution import replaced
from frontier.plan.step.tracer import Tracer


class Passes(TorchFunctionMode):
    """Tells a tracer, while it is entered, when a backward pass begins and ends."""

    def __init__(self, tracer: Tracer):
        super().__init__()
        self.tracer = tracer

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is not torch.Tensor.backward:
            return function(*args, **(kwargs or {}))
        self.tracer.phase = "backward"
        function(*args, **(kwargs or {}))
        self.tracer.phase = "forward"


@contextlib.contextmanager
def grouped_kernels_on_meta():
    """Let optimisers and clipping use fused and grouped kernels on the meta device while the block runs.

    They would run there, but torch checks two lists of devices, which only a replacement can change.
    """
    with (
        replaced(_foreach_utils, "_get_foreach_kernels_supported_devices", _grouping_devices),
        replaced(torch_optimizer, "_get_fused_kernels_supported_devices", _grouping_devices),
    ):
        yield


def _grouping_devices() -> list[str]:
    return ["meta", "cuda"]
