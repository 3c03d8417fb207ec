"""Compute on the CPU the small integers of a trace, such as lengths and positions, which decide later shapes."""

import torch
from torch.utils._python_dispatch import _disable_current_modes

# Elements. Only integer tensors up to this size have their values computed.
_SMALL_INTEGERS = 2**22


def compute(function, args, kwargs, known):
    """Return the operation's result on the real values of its tensors, all of them `known`, computed on the CPU."""

    def real(value):
        if isinstance(value, torch.Tensor):
            return known[value]
        if isinstance(value, list | tuple):
            return type(value)(map(real, value))
        return torch.device("cpu") if isinstance(value, torch.device) else value

    with _disable_current_modes(), torch.no_grad():
        return function(*map(real, args), **{key: real(value) for key, value in kwargs.items()})


def is_small_integer(tensor: torch.Tensor) -> bool:
    """Return whether the values of a tensor are computed."""
    return not tensor.dtype.is_floating_point and tensor.numel() <= _SMALL_INTEGERS
