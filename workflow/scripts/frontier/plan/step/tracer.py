"""Trace what a step does as torch dispatches it: each operation's traffic, each allocation and release of a storage."""

import weakref
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from frontier.plan.step import stand_ins
from frontier.plan.step.real_values import compute, is_small_integer
from frontier.plan.step.results import results_without_content

CATEGORIES = ("weights", "adapter", "optimizer", "gradients", "activations", "logits")
aten = torch.ops.aten


@dataclass
class Operation:
    """One kernel of the step: the bytes it reads and writes, its inputs' shapes, whether a CUDA graph launches it.

    `moved` has shape and bytes of each tensor that it reads or writes.
    """

    name: str
    phase: str
    dtype: torch.dtype
    read: int
    written: int
    shapes: list[tuple[int, ...]]
    captured: bool = False
    moved: list[tuple[tuple[int, ...], int]] = field(default_factory=list)


@dataclass
class Event:
    """The allocation of a storage (`size` > 0) or its release (< 0), for a tensor of some shape or a kernel over one.

    `captured`: in the CUDA graphs' own memory.
    """

    key: int
    size: int
    category: str
    phase: str
    captured: bool
    shape: tuple[int, ...] = ()


@dataclass
class Trace:
    """What a step did: its operations, and the allocations and releases of its storages (`events`), each in order.

    `levers` are those that it used, `lengths` its examples' in tokens, `parameters` how many trainable tensors there
    are, `graph_kernels` the number of kernels in all its CUDA graphs, of which there is one for each padded length.
    """

    operations: list[Operation] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    levers: dict = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)
    parameters: int = 0
    graph_kernels: int = 0


class Tracer(TorchDispatchMode):
    """Traces, while it is entered, what operations read and write, and when storages are allocated and released."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.trace = Trace()
        self.operations = self.trace.operations
        self.phase, self.captured = "load", False
        self.vocabulary = vocabulary
        self._ids = WeakIdKeyDictionary()
        self._known = WeakIdKeyDictionary()
        self._count = 0
        self.results = results_without_content()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.ops.prim.device.default:
            return function(*args, **kwargs)
        tensors = tensors_of(args) + tensors_of(kwargs.values())
        values = [self._known.get(tensor) for tensor in tensors]
        known = bool(tensors) and all(value is not None for value in values)
        if known and function in (aten._local_scalar_dense.default, aten.item.default):
            return values[0].item()
        if known and function is aten.nonzero.default:
            return self.known(compute(function, args, kwargs, self._known))
        result = self.results.of(function, args, kwargs)
        outputs = tensors_of((result,))
        if known and outputs and all(is_small_integer(output) for output in outputs):
            for output, value in zip(outputs, tensors_of((compute(function, args, kwargs, self._known),)), strict=True):
                self._known[output] = value
        name = _name(function)
        self._work_space(stand_ins.work_space(name, tensors), tensors)
        self._note(name, tensors, outputs)
        return result

    def known(self, value: torch.Tensor) -> torch.Tensor:
        """Return a tensor without content whose real `value` is remembered, since integers decide later shapes."""
        result = torch.empty(value.shape, dtype=value.dtype, device="meta")
        self._known[result] = value
        return result

    def name(self, tensors: list[torch.Tensor], category: str) -> None:
        """Set the category of the tensors' storages, from their allocation on, where the phase suggests a wrong one."""
        wanted = {self._ids.get(tensor.untyped_storage()) for tensor in tensors if tensor is not None}
        for event in self.trace.events:
            if event.key in wanted:
                event.category = category

    def on_device(self, row: dict) -> dict:
        """Return a packed row as it would be on the device: its tensors without content, their values remembered."""
        return {key: self.known(value) if isinstance(value, torch.Tensor) else value for key, value in row.items()}

    @contextmanager
    def capturing(self, operations: list[Operation]):
        """Append the block's operations to `operations`, a CUDA graph's; what it allocates is in the graphs' memory."""
        self.captured, self.operations = True, operations
        yield
        self.captured, self.operations = False, self.trace.operations

    def _note(self, name: str, inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> None:
        before = {id(tensor.untyped_storage()) for tensor in inputs}
        fresh = False
        for output in outputs:
            storage = output.untyped_storage()
            if storage not in self._ids:
                fresh = True
                self._born(storage, tuple(output.shape))
            elif id(storage) in before and name.split(".")[1].endswith("_"):
                fresh = True
        if fresh and self.phase != "load":
            self.operations.append(
                Operation(
                    name=name,
                    phase=self.phase,
                    dtype=(inputs or outputs)[0].dtype,
                    read=sum(tensor.numel() * tensor.itemsize for tensor in inputs),
                    written=sum(tensor.numel() * tensor.itemsize for tensor in outputs),
                    shapes=[tuple(tensor.shape) for tensor in inputs],
                    captured=self.captured,
                    moved=[(tuple(tensor.shape), tensor.numel() * tensor.itemsize) for tensor in inputs + outputs],
                )
            )

    def _born(self, storage, shape: tuple[int, ...]) -> None:
        self._count += 1
        key, size, events = self._count, storage.nbytes(), self.trace.events
        self._ids[storage] = key
        category = "weights" if self.phase == "load" else "activations"
        if category == "activations" and shape and shape[-1] == self.vocabulary:
            category = "logits"
        birth = Event(key, size, category, self.phase, self.captured, shape)
        events.append(birth)
        weakref.finalize(
            storage, lambda: events.append(Event(key, -size, birth.category, self.phase, birth.captured, shape))
        )

    def keep(self, sizes: list[int]) -> None:
        """Count sizes in bytes that libraries allocate once and keep, as activations."""
        for size in sizes:
            self._count += 1
            self.trace.events.append(Event(self._count, size, "activations", self.phase, False))

    def _work_space(self, size: int, inputs: list[torch.Tensor]) -> None:
        """Count the bytes that a kernel allocates for itself and frees before it returns."""
        if size:
            self._count += 1
            shape = tuple(inputs[0].shape)
            for signed in (size, -size):
                self.trace.events.append(Event(self._count, signed, "activations", self.phase, self.captured, shape))


@cache
def _name(function) -> str:
    """Return an operation's name, say aten.mm.default."""
    return str(function)


def tensors_of(values) -> list[torch.Tensor]:
    """Return the tensors in nested lists and tuples."""
    found = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_of(value)
    return found
