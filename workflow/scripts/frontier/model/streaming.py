"""Keep the weights of decoder layers in the host's memory, and send each layer's over while the one before computes.

A frozen base need not lie on the card: of a layer only what LoRA trains must stay there. Each layer's linear weights
are one slab of the host's memory. Two buffers on the card hold the layer that computes and the one that follows it: the
next one in the forward pass, the one before in the backward pass, whether that computes a layer again or not. A layer
arrives when the first of its weights is read (`dense.dense_weight`), not by a hook on its module: some versions of
transformers compute a checkpointed layer again without calling it. Nothing is copied back, since a frozen weight does
not change.
"""

import time
from collections.abc import Collection, Iterator
from functools import partial

import torch
from torch import nn

from frontier.errors import UserError
from frontier.machine.device import synchronize
from frontier.model.layers import is_castable, is_named
from frontier.model.loss import causal_model, decoder_of
from frontier.model.slabs import slab_of

# Waits that are kept before they are added up: by then the device has passed most of them.
_KEPT_WAITS = 512
# Slabs that are sent to tell the link's rate.
_TIMED_SLABS = 8


class Streamed:
    """The decoder layers of a model, whose weights are sent to a device as they are read.

    `layers` has the linear layers within each. `times` copies each slab so many times, as over a link that is slower by
    that much (a benchmark's). `moved_bytes` counts what was sent, of such copies one.
    """

    def __init__(self, layers: list[list[nn.Module]], device: torch.device, times: int = 1):
        self.device, self.times, self.moved_bytes = device, times, 0
        self.slabs, self.moved = zip(*(slab_of(layer, device) for layer in layers), strict=True)
        largest = max(len(slab) for slab in self.slabs)
        self.buffers = [torch.empty(largest, dtype=torch.uint8, device=device) for _ in range(2)]
        self.held: list[int | None] = [None, None]
        self.last = 0
        self._link = _Link(device)
        for index, layer in enumerate(layers):
            # Before the first pass each weight needs a place on the device, by which others learn where the model is.
            self._put(index)
            for module in layer:
                module.arrive = partial(self.arrive, index)

    def arrive(self, index: int) -> None:
        """Have the weights of a layer in place, and the next layer's under way, as one of them is about to be read."""
        if self.last == index and self.held[index % 2] == index:
            return
        # What was read before has all of its work queued: the other buffer is free once that is done.
        if self.last != index:
            self._link.release(self.last % 2)
        self._fetch(index)
        self._link.wait(index % 2)
        self._put(index)
        upwards = index == 0 or index > self.last
        self.last = index
        following = index + 1 if upwards else index - 1
        if following < len(self.slabs):
            self._fetch(following)

    @property
    def waited_seconds(self) -> float:
        """The seconds for which the device has waited for weights so far; 0 for a CPU, which copies them itself."""
        return self._link.waited_seconds()

    @property
    def is_pinned(self) -> bool:
        """Whether the host's memory is page-locked, so that copies go on beside the device's work."""
        return self.device.type == "cuda" and all(slab.is_pinned() for slab in self.slabs)

    def link_rate(self) -> float:
        """Return the bytes a second at which slabs are sent when nothing else is done."""
        slabs, buffer = self.slabs[:_TIMED_SLABS], self.buffers[0]
        self.held[0] = None
        synchronize(self.device)
        start = time.perf_counter()
        for slab in slabs:
            buffer[: len(slab)].copy_(slab, non_blocking=True)
        synchronize(self.device)
        return sum(map(len, slabs)) / (time.perf_counter() - start)

    def _fetch(self, index: int) -> None:
        place, slab = index % 2, self.slabs[index]
        if self.held[place] == index:
            return
        for _ in range(self.times):
            self._link.copy(place, self.buffers[place][: len(slab)], slab)
        self.held[place] = index
        self.moved_bytes += len(slab)

    def _put(self, index: int) -> None:
        for one in self.moved[index]:
            one.put(one.within(self.buffers[index % 2]))


class _Link:
    """Copies to two buffers, on a stream of their own where the device has streams, and what was waited for them."""

    def __init__(self, device: torch.device):
        self.device, self.seconds = device, 0.0
        self.waits: list[tuple] = []
        self.is_cuda = device.type == "cuda"
        if self.is_cuda:
            self.stream = torch.cuda.Stream(device)
            self.ready, self.free = ([torch.cuda.Event() for _ in range(2)] for _ in range(2))

    def copy(self, place: int, buffer: torch.Tensor, slab: torch.Tensor) -> None:
        if not self.is_cuda:
            buffer.copy_(slab)
            return
        self.stream.wait_event(self.free[place])
        with torch.cuda.stream(self.stream):
            buffer.copy_(slab, non_blocking=True)
            self.ready[place].record()

    def release(self, place: int) -> None:
        if self.is_cuda:
            self.free[place].record()

    def wait(self, place: int) -> None:
        if not self.is_cuda:
            return
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        torch.cuda.current_stream(self.device).wait_event(self.ready[place])
        end.record()
        self.waits.append((begin, end))
        if len(self.waits) > 2 * _KEPT_WAITS:
            self._add_up(_KEPT_WAITS)

    def waited_seconds(self) -> float:
        if self.waits:
            torch.cuda.synchronize(self.device)
            self._add_up(len(self.waits))
        return self.seconds

    def _add_up(self, count: int) -> None:
        self.waits[count - 1][1].synchronize()
        self.seconds += sum(begin.elapsed_time(end) for begin, end in self.waits[:count]) / 1000
        del self.waits[:count]


def stream(base: nn.Module, device: torch.device, read_directly: Collection[str] = (), times: int = 1) -> Streamed:
    """Keep the linear weights of a base's decoder layers, which lie in the host's memory, there, and move the rest.

    The base then computes on `device`. Weights that the model reads by itself, of layers with the names
    `read_directly`, are moved. Raises UserError where its layers are no list whose weights can be sent.
    """
    decoder = decoder_of(causal_model(base)) if hasattr(base, "get_decoder") else base
    layers = getattr(decoder, "layers", None)
    linear = [list(_linear(layer, read_directly)) for layer in layers] if isinstance(layers, nn.ModuleList) else []
    found = [id(module) for layer in linear for module in layer]
    if not all(linear) or not found or len(found) != len(set(found)):
        raise UserError(
            "base_on: got host, takes device for this model, whose decoder is no list of layers with linear weights of "
            "their own"
        )
    streamed = Streamed(linear, device, times)
    _move_rest(base, device, {id(module.weight) for layer in linear for module in layer})
    base.streamed = streamed
    return streamed


def _linear(layer: nn.Module, read_directly: Collection[str]) -> Iterator[nn.Module]:
    """Yield the linear layers within a decoder layer whose weights can be sent."""
    for name, module in layer.named_modules():
        if is_castable(module) and not is_named(name, read_directly):
            yield module


def _move_rest(base: nn.Module, device: torch.device, sent: set[int]) -> None:
    for parameter in base.parameters():
        if id(parameter) not in sent:
            parameter.data = parameter.data.to(device)
    for module in base.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(device)
