"""The real training step, run without its data: every tensor has a shape, a type and a device, and no content.

What a step allocates and computes follows from shapes alone, so the project's own model, adapter, layers and loss run
here under torch's FakeTensorMode, for a card that need not be there, and nothing of their arithmetic is written twice.
"""

import contextlib
import copy
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
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AutoModelForCausalLM, Trainer
from transformers.quantizers import AutoHfQuantizer

from frontier import layers, models, packing, training
from frontier.loss import token_losses

CATEGORIES = ("weights", "adapter", "optimizer", "gradients", "activations", "logits")
_ABSMAX_BLOCK, _NESTED_BLOCK = 64, 256
_SMALL_INTEGERS = 2**22
aten = torch.ops.aten


@dataclass
class Operation:
    """One kernel of the step: which, the bytes it reads and writes, and the shapes of its tensors."""

    name: str
    phase: str
    dtype: torch.dtype
    read: int
    written: int
    shapes: list[tuple[int, ...]]


@dataclass
class Trace:
    """A step's operations in order, and its storages' births and deaths: (id, bytes, category), bytes < 0 a death."""

    operations: list[Operation] = field(default_factory=list)
    events: list[tuple[int, int, str, str]] = field(default_factory=list)
    tokens: int = 0
    lengths: tuple[int, ...] = ()


def build(config, precision: str, lora: dict, rank: int):
    """The model of a transformers config with its adapter, on the meta device: no memory, whatever its size."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dtype = models.STORED.get(precision, torch.float16)
        model = AutoModelForCausalLM.from_config(
            copy.deepcopy(config), dtype=dtype, attn_implementation=packing.ATTENTION
        )
        if precision in models.QUANTIZED:
            quantizer = AutoHfQuantizer.from_config(models.quantization(precision))
            quantizer.preprocess_model(model=model, device_map={"": "cpu"})
        return training.build_adapter(model.requires_grad_(False), lora, rank, seed=0)


def trace(model, request: dict, batches: list[list[dict]], cuda: bool, dtype: torch.dtype) -> Trace:
    """One optimiser step of a `build` model over its micro-batches, the optimiser's state there already.

    `request` is a run's training request; `batches` hold examples as `packing.collate` takes them. With `cuda` the
    step is the one of a card, which this machine may lack. The model is used up.
    """
    recorder = _Recorder(vocabulary=model.config.get_text_config().vocab_size)
    settings = request["training"]
    rows = [packing.collate(batch) for batch in batches]
    recorder.trace.tokens = sum(sum(row["lengths"]) for row in rows)
    recorder.trace.lengths = tuple(length for row in rows for length in row["lengths"])
    with FakeTensorMode(allow_non_fake_inputs=True), recorder, _stand_ins(cuda):
        recorder.phase = "load"
        _materialize(model)
        layers.compute_in(model, dtype)
        model.train()
        if settings["gradient_checkpointing"]:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        recorder.name(trainable, "adapter")
        optimizer = _optimizer(model, request, cuda)
        recorder.phase = "state"
        for parameter in trainable:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
        for row in rows:
            recorder.phase = "forward"
            batch = {
                key: recorder.known(value) if isinstance(value, torch.Tensor) else value
                for key, value in row.items()
            }
            loss = token_losses(model, batch).sum() / recorder.trace.tokens
            recorder.phase = "backward"
            loss.backward()
            del loss, batch
            recorder.name([parameter.grad for parameter in trainable], "gradients")
        recorder.phase = "update"
        if settings["max_grad_norm"]:
            foreach = True if cuda else None
            nn.utils.clip_grad_norm_(trainable, settings["max_grad_norm"], foreach=foreach)
        optimizer.step()
        optimizer.zero_grad()
    return recorder.trace


class _Recorder(TorchDispatchMode):
    """Follows what each operation reads and writes, and when each storage is born and dies."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.trace = Trace()
        self.phase = "load"
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
        self.trace.events = [
            (key, size, category if key in wanted else old, phase) for key, size, old, phase in self.trace.events
        ]

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
        if fresh and self.phase not in ("load", "state"):
            self.trace.operations.append(
                Operation(
                    name=name,
                    phase=self.phase,
                    dtype=(inputs or outputs)[0].dtype,
                    read=sum(tensor.numel() * tensor.itemsize for tensor in inputs),
                    written=sum(tensor.numel() * tensor.itemsize for tensor in outputs),
                    shapes=[tuple(tensor.shape) for tensor in inputs],
                )
            )

    def _born(self, storage, shape: tuple[int, ...]) -> None:
        self._count += 1
        key, size, events = self._count, storage.nbytes(), self.trace.events
        self._ids[storage] = key
        category = {"load": "weights", "state": "optimizer"}.get(self.phase, "activations")
        if category == "activations" and shape and shape[-1] == self.vocabulary:
            category = "logits"
        events.append((key, size, category, self.phase))
        weakref.finalize(storage, lambda: self.trace.events.append((key, -size, category, self.phase)))


def _materialize(model) -> None:
    """Give a meta model tensors that have storage, tied ones once; 4-bit layers get the storage that bitsandbytes gives."""
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
        dtype=torch.float16,
        offset=empty(),
        state2=QuantState(
            absmax=empty(-(-blocks // _NESTED_BLOCK)), code=empty(256), blocksize=_NESTED_BLOCK, dtype=torch.float32
        ),
    )
    return weight


def _optimizer(model, request: dict, cuda: bool):
    arguments = training.trainer_arguments(request, torch.device("cpu"), torch.float32, Path("."))
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    if "8bit" in request["training"]["optimizer"]:
        return _EightBitState(model, request["training"]["optimizer"].startswith("paged"))
    if cuda and not options.get("fused"):
        options["foreach"] = True  # torch's own choice there, which it makes for plain tensors alone
    return kind([parameter for parameter in model.parameters() if parameter.requires_grad], **options)


class _EightBitState:
    """Stands in for bitsandbytes' 8-bit Adam, whose kernels take no tensors without content.

    Two bytes an element and two float32 per 256 of them; parameters under 4,096 elements keep float32 state; paged
    state is the driver's and not the allocator's (bitsandbytes.optim.Optimizer2State).
    """

    def __init__(self, model, paged: bool):
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.paged, self.state = paged, []

    def step(self) -> None:
        if self.state or self.paged:
            return
        for parameter in self.parameters:
            count = parameter.numel()
            small = count < 4096
            kind = torch.float32 if small else torch.uint8
            self.state += [torch.empty(count, dtype=kind) for _ in range(2)]
            if not small:
                self.state += [torch.empty(-(-count // 256)) for _ in range(2)]

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None


class _Card(TorchFunctionMode):
    """Answers `tensor.is_cuda` with yes: tensors without content are on the CPU, where torch runs without CUDA too."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.is_cuda.__get__:
            return True
        return function(*args, **(kwargs or {}))


@contextlib.contextmanager
def _stand_ins(cuda: bool):
    """What a card does and tensors without content cannot: to be asked for, and to choose an attention kernel."""
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")
        if cuda:
            stack.enter_context(mock.patch("torch.nn.functional.scaled_dot_product_attention", _flash_attention))
            stack.enter_context(_Card())
        yield


def _flash_attention(query, key, value, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False, **_):
    return aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, scale=scale)[0]


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
