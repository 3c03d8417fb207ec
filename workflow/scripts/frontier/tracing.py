"""The real training step, run without its data: every tensor has a shape, a type and a device, and no content.

What a step allocates and computes follows from shapes alone, so the project's own model, adapter, layers and loss run
here under torch's FakeTensorMode, for a card that need not be there, and nothing of their arithmetic is written twice.
"""

import contextlib
import copy
import types
import warnings
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import bitsandbytes as bnb
import torch
from bitsandbytes.functional import QuantState
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AutoModelForCausalLM, Trainer
from transformers.quantizers import AutoHfQuantizer

from frontier import kernels, models, packing, standins, training
from frontier.loss import token_losses

CATEGORIES = ("weights", "adapter", "optimizer", "gradients", "activations", "logits")
_ABSMAX_BLOCK, _NESTED_BLOCK = 64, 256
_SMALL_INTEGERS = 2**22
aten = torch.ops.aten


@dataclass
class Operation:
    """One kernel of the step: the bytes it reads and writes, its tensors' shapes, whether a graph launches it."""

    name: str
    phase: str
    dtype: torch.dtype
    read: int
    written: int
    shapes: list[tuple[int, ...]]
    recorded: bool = False


@dataclass
class Event:
    """A storage's birth, or with bytes below 0 its death; `recorded` ones are a CUDA graph's, which shares nothing."""

    key: int
    size: int
    category: str
    phase: str
    recorded: bool


@dataclass
class Trace:
    """What a step did: its operations and its storages' births and deaths, in order, and the levers it used."""

    operations: list[Operation] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    levers: dict = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Device:
    """What of a device decides which code runs: whether it is a card, and its CUDA compute capability."""

    cuda: bool
    capability: tuple[int, int] = (8, 0)

    @property
    def torch_device(self) -> torch.device:
        return torch.device("cuda", 0) if self.cuda else torch.device("cpu")


def compute_dtype(request: dict, device: Device) -> torch.dtype:
    """The dtype of a run's products on a card that need not be there."""
    with mock.patch("torch.cuda.is_bf16_supported", return_value=device.capability >= (8, 0)):
        return models.compute_dtype(request["compute_dtype"], request["precision"], device.torch_device)


def build(config, request: dict, device: Device):
    """A run's model as `training.build` makes it, on the meta device: no memory, whatever its size; and its levers."""

    def load(*_):
        dtype = models.STORED.get(request["precision"], torch.float16)
        model = AutoModelForCausalLM.from_config(
            copy.deepcopy(config), dtype=dtype, attn_implementation=packing.ATTENTION
        )
        if request["precision"] in models.QUANTIZED:
            quantizer = AutoHfQuantizer.from_config(models.quantization(request["precision"]))
            quantizer.preprocess_model(model=model, device_map={"": "cpu"})
            for module in model.modules():
                if isinstance(module, bnb.nn.Linear4bit):
                    module.weight.quant_state = types.SimpleNamespace(dtype=torch.float16)
        return model.requires_grad_(False)

    with _quiet(), torch.device("meta"), _card(device), mock.patch("frontier.models.load", load):
        return training.build(request, {}, compute_dtype(request, device), device.torch_device)


def trace(config, request: dict, rows: list[dict], lengths: list[int], device: Device) -> Trace:
    """One optimiser step over `rows`, the micro-batches as `packing.collate` makes them, its optimiser's state there.

    `config` is a transformers config, `request` a run's training request, `lengths` the data set's examples' in
    tokens, which decide what a recorded step is padded to.
    """
    model, levers = build(config, request, device)
    recorder = _Recorder(vocabulary=model.config.get_text_config().vocab_size)
    recorder.trace.levers = levers
    recorder.trace.lengths = [length for row in rows for length in row["lengths"]]
    with _quiet(), _card(device), FakeTensorMode(allow_non_fake_inputs=True), recorder, _passes(recorder):
        _materialize(model)
        recorder.keep(standins.library_space(device))
        model.train()
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        recorder.name(trainable, "adapter")
        step = _step(model, request, lengths, levers)
        optimizer = _optimizer(model, request, device)
        if not levers["cuda_graphs"]:
            for parameter in trainable:
                parameter.grad = torch.zeros_like(parameter)
            _update(recorder, optimizer, trainable, request, device)
        else:
            recorder.phase = "forward"
            # A recorded step meets its first rows, the longest, before there is any state.
            step(recorder.on_device(_longest(rows)))
            _update(recorder, optimizer, trainable, request, device)
        recorder.trace.operations.clear()
        for row in rows:
            recorder.phase = "forward"
            step(recorder.on_device(row))
            recorder.name([parameter.grad for parameter in trainable], "gradients")
        _update(recorder, optimizer, trainable, request, device)
    return recorder.trace


def _step(model, request: dict, lengths: list[int], levers: dict):
    """The forward and backward pass of a row, as the Trainer would have it: plain, or recorded in a CUDA graph."""
    if levers["cuda_graphs"]:
        settings = request["training"]
        micro = settings["micro_batch_size"] or settings["batch_size"]
        recorded = kernels.RecordedStep(model, lengths, micro)
        factor = torch.ones(())
        return lambda row: recorded(row, factor)

    def step(row: dict) -> None:
        loss = token_losses(model, row).sum() / row["labels"].numel()
        loss.backward()

    return step


def _longest(rows: list[dict]) -> dict:
    return max(rows, key=lambda row: row["input_ids"].shape[1])


def _update(recorder, optimizer, trainable: list, request: dict, device: Device) -> None:
    recorder.phase = "update"
    limit = request["training"]["max_grad_norm"]
    if limit:
        nn.utils.clip_grad_norm_(trainable, limit, foreach=True if device.cuda else None)
    optimizer.step()
    recorder.name(_tensors([list(state.values()) for state in optimizer.state.values()]), "optimizer")
    optimizer.zero_grad()


class _Recorder(TorchDispatchMode):
    """Follows what each operation reads and writes, and when each storage is born and dies."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.trace = Trace()
        self.operations = self.trace.operations
        self.phase, self.recorded = "load", False
        self.vocabulary = vocabulary
        self._ids = WeakIdKeyDictionary()
        self._known = WeakIdKeyDictionary()
        self._count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.ops.prim.device.default:
            return function(*args, **kwargs)
        tensors = _tensors(args) + _tensors(kwargs.values())
        values = [self._known.get(tensor) for tensor in tensors]
        known = bool(tensors) and all(value is not None for value in values)
        if known and function in (aten._local_scalar_dense.default, aten.item.default):
            return values[0].item()
        if known and function is aten.nonzero.default:
            return self.known(_compute(function, args, kwargs, self._known))
        result = function(*args, **kwargs)
        outputs = _tensors((result,))
        if known and outputs and all(_is_small_integer(output) for output in outputs):
            for output, value in zip(outputs, _tensors((_compute(function, args, kwargs, self._known),)), strict=True):
                self._known[output] = value
        self._work_space(standins.work_space(str(function), tensors))
        self._record(str(function), tensors, outputs)
        return result

    def known(self, value: torch.Tensor) -> torch.Tensor:
        """A tensor without content, whose real `value` is remembered: integers decide later shapes."""
        result = torch.empty(value.shape, dtype=value.dtype)
        self._known[result] = value
        return result

    def name(self, tensors: list[torch.Tensor], category: str) -> None:
        """Say what storages are that a category by phase would get wrong, from their birth on."""
        wanted = {self._ids.get(tensor.untyped_storage()) for tensor in tensors if tensor is not None}
        for event in self.trace.events:
            if event.key in wanted:
                event.category = category

    def on_device(self, row: dict) -> dict:
        return {key: self.known(value) if isinstance(value, torch.Tensor) else value for key, value in row.items()}

    def _record(self, name: str, inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> None:
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
                    recorded=self.recorded,
                )
            )

    def _born(self, storage, shape: tuple[int, ...]) -> None:
        self._count += 1
        key, size, events = self._count, storage.nbytes(), self.trace.events
        self._ids[storage] = key
        category = "weights" if self.phase == "load" else "activations"
        if category == "activations" and shape and shape[-1] == self.vocabulary:
            category = "logits"
        birth = Event(key, size, category, self.phase, self.recorded)
        events.append(birth)
        weakref.finalize(storage, lambda: events.append(Event(key, -size, birth.category, self.phase, birth.recorded)))

    def keep(self, sizes: list[int]) -> None:
        """What libraries allocate once and keep, with the activations."""
        for size in sizes:
            self._count += 1
            self.trace.events.append(Event(self._count, size, "activations", self.phase, False))

    def _work_space(self, size: int) -> None:
        """What a kernel allocates for itself, and has given back when it returns."""
        if size:
            self._count += 1
            for signed in (size, -size):
                self.trace.events.append(Event(self._count, signed, "activations", self.phase, self.recorded))


def _materialize(model) -> None:
    """Give a meta model tensors with storage, tied ones once; 4-bit layers get what bitsandbytes gives them."""
    made: dict[int, torch.Tensor] = {}

    def empty(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            fresh = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
            is_parameter = isinstance(tensor, nn.Parameter)
            made[id(tensor)] = nn.Parameter(fresh, requires_grad=tensor.requires_grad) if is_parameter else fresh
        return made[id(tensor)]

    kept = []
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                kept.append(tensor)
                is_packed = isinstance(module, bnb.nn.Linear4bit) and name == "weight"
                tensors[name] = _packed_weight(module) if is_packed else empty(tensor)


def _packed_weight(layer: bnb.nn.Linear4bit) -> nn.Parameter:
    """The storage of a Linear4bit with double quantisation, which cannot be built without content."""
    elements = layer.out_features * layer.in_features
    blocks = -(-elements // _ABSMAX_BLOCK)

    def empty(*shape, dtype=torch.float32):
        return torch.empty(shape, dtype=dtype)

    weight = nn.Parameter(empty((elements + 1) // 2, 1, dtype=torch.uint8), requires_grad=False)
    weight.quant_state = QuantState(
        absmax=empty(blocks, dtype=torch.uint8),
        shape=torch.Size((layer.out_features, layer.in_features)),
        code=empty(16),
        blocksize=_ABSMAX_BLOCK,
        quant_type=layer.weight.quant_type,
        dtype=layer.weight.quant_state.dtype,
        offset=empty(),
        state2=QuantState(
            absmax=empty(-(-blocks // _NESTED_BLOCK)), code=empty(256), blocksize=_NESTED_BLOCK, dtype=torch.float32
        ),
    )
    return weight


def _optimizer(model, request: dict, device: Device):
    if "8bit" in request["training"]["optimizer"]:
        return _EightBitState(model, request["training"]["optimizer"].startswith("paged"))
    arguments = training.trainer_arguments(request, torch.device("cpu"), torch.float32, Path("."))
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    if device.cuda and not options.get("fused"):
        options["foreach"] = True  # torch's own choice there, which it makes for plain tensors alone
    return kind([parameter for parameter in model.parameters() if parameter.requires_grad], **options)


class _EightBitState:
    """Stands in for bitsandbytes' 8-bit Adam, whose kernels take no tensors without content.

    Two bytes an element and two float32 per 256 of them; parameters under 4,096 elements keep float32 state; paged
    state is the driver's and not the allocator's (bitsandbytes.optim.Optimizer2State).
    """

    def __init__(self, model, paged: bool):
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.paged, self.state = paged, {}

    def step(self) -> None:
        if self.state or self.paged:
            return
        for parameter in self.parameters:
            count = parameter.numel()
            small = count < 4096
            kind = torch.float32 if small else torch.uint8
            moments = {name: torch.empty(count, dtype=kind) for name in ("state1", "state2")}
            scales = {} if small else {name: torch.empty(-(-count // 256)) for name in ("absmax1", "absmax2")}
            self.state[parameter] = moments | scales

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None


@contextlib.contextmanager
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _card(device: Device):
    """Let the code find the card that the plan is for, and run what needs its drivers by stand-ins."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            mock.patch.object(packing, "has_varlen", return_value=device.cuda and device.capability >= (8, 0))
        )
        if device.cuda:
            stack.enter_context(mock.patch.object(kernels, "fuse", standins.fuse))
            stack.enter_context(mock.patch.object(kernels, "offload_embeddings", standins.offload_embeddings))
            stack.enter_context(
                mock.patch("torch.nn.functional.scaled_dot_product_attention", standins.flash_attention)
            )
        yield


@contextlib.contextmanager
def _passes(recorder: _Recorder):
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
        stack.enter_context(mock.patch.object(kernels.RecordedStep, "_warm_up", warm_up))
        stack.enter_context(mock.patch.object(torch.cuda, "graph", record))
        stack.enter_context(mock.patch.object(torch.cuda, "CUDAGraph", Graph))
        stack.enter_context(mock.patch.object(torch.cuda, "stream", contextlib.nullcontext))
        for name in names:
            stack.enter_context(mock.patch.object(torch.cuda, name, mock.MagicMock()))
        yield


def _tensors(values) -> list[torch.Tensor]:
    found = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _compute(function, args, kwargs, known):
    """The operation on real values, all of which are known; devices are left out."""

    def real(value):
        if isinstance(value, torch.Tensor):
            return known[value]
        if isinstance(value, list | tuple):
            return type(value)(map(real, value))
        return torch.device("cpu") if isinstance(value, torch.device) else value

    with _disable_current_modes(), torch.no_grad():
        return function(*map(real, args), **{key: real(value) for key, value in kwargs.items()})


def _is_small_integer(tensor: torch.Tensor) -> bool:
    return not tensor.dtype.is_floating_point and tensor.numel() <= _SMALL_INTEGERS
