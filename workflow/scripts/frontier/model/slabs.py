"""The weights of a layer as one piece of the host's memory, from which a device copies them."""

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import bitsandbytes as bnb
import torch
from torch import nn

# Bytes: where a tensor begins in a slab, as kernels that read many bytes at once want it.
_ALIGNMENT = 256


class Moved(NamedTuple):
    """A tensor that is sent over: where it is put back, its place in the slab in bytes, and what it is."""

    put: Callable[[torch.Tensor], None]
    start: int
    dtype: torch.dtype
    shape: torch.Size

    def within(self, slab: torch.Tensor) -> torch.Tensor:
        """Return the tensor as it lies in a slab, or in a buffer that a slab was copied to."""
        size = self.shape.numel() * self.dtype.itemsize
        return slab[self.start : self.start + size].view(self.dtype).view(self.shape)


def slab_of(layer: list[nn.Module], device: torch.device) -> tuple[torch.Tensor, list[Moved]]:
    """Return a layer's linear weights as one piece of the host's memory, and where each is; they leave the layer."""
    found: list[tuple[Callable, torch.Tensor]] = []
    for module in layer:
        weight = module.weight
        found.append((_setter(weight, "data"), weight.data))
        state = getattr(weight, "quant_state", None)
        if state is not None:
            found.append((_setter(state, "absmax"), state.absmax))
    moved, size = [], 0
    for put, tensor in found:
        moved.append(Moved(put, size, tensor.dtype, tensor.shape))
        size += -(-tensor.numel() * tensor.element_size() // _ALIGNMENT) * _ALIGNMENT
    slab = _host_memory(size, device)
    for one, (_, tensor) in zip(moved, found, strict=True):
        one.within(slab).copy_(tensor)
        # What was read from files is let go of layer by layer.
        one.put(tensor.new_empty(0))
    for module in layer:
        if isinstance(module, bnb.nn.Linear4bit):
            _move_scales(module.weight.quant_state, device)
    return slab, moved


def _setter(holder: Any, name: str) -> Callable[[torch.Tensor], None]:
    return lambda tensor: setattr(holder, name, tensor)


def _host_memory(size: int, device: torch.device) -> torch.Tensor:
    """Return memory of the host, page-locked where a device copies from it; torch rounds that up to a power of two."""
    if device.type != "cuda":
        return torch.empty(size, dtype=torch.uint8)
    memory, runtime = torch.empty(size, dtype=torch.uint8), torch.cuda.cudart()
    # Where the system locks no more pages, copies are slower and wait, and otherwise the same.
    if int(runtime.cudaHostRegister(memory.data_ptr(), size, 0)) == 0:
        weakref.finalize(memory, runtime.cudaHostUnregister, memory.data_ptr())
    return memory


def _move_scales(state, device: torch.device) -> None:
    """Move what a quantised weight has beside its numbers and their scales: the scales of the scales, and the code."""
    state.code = state.code.to(device)
    if state.nested:
        state.offset = state.offset.to(device)
        state.state2.absmax, state.state2.code = state.state2.absmax.to(device), state.state2.code.to(device)
