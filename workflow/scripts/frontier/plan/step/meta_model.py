"""Make a model and its optimiser on the meta device: their tensors have a shape and a dtype, and no content."""

import copy
import types
import warnings
from contextlib import contextmanager
from pathlib import Path

import bitsandbytes as bnb
import torch
from bitsandbytes.functional import QuantState
from torch import nn
from transformers import AutoModelForCausalLM, Trainer
from transformers.quantizers import AutoHfQuantizer

from frontier.model import bases, dtypes
from frontier.plan.step.emulated_card import EmulatedCard
from frontier.request_types import TrainingRequest
from frontier.run import fit

# Elements that share a scale in a 4-bit weight of bitsandbytes.
_ABSMAX_BLOCK = 64
# Scales that share one of their own, by double quantisation.
_NESTED_BLOCK = 256


@contextmanager
def quiet():
    """Suppress warnings, such as those about models that are made and not loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def base(config, precision: str, attention: str):
    """Return a frozen base as `bases.load` does, but on the meta device, where it takes no memory.

    `attention` is the name under which transformers has its attention.
    """
    dtype = dtypes.stored_dtype(precision)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=dtype, attn_implementation=attention)
        if precision in dtypes.QUANTIZED:
            quantizer = AutoHfQuantizer.from_config(bases.quantization(precision))
            quantizer.preprocess_model(model=model, device_map={"": "cpu"})
            for module in model.modules():
                if isinstance(module, bnb.nn.Linear4bit):
                    module.weight.quant_state = types.SimpleNamespace(dtype=torch.float16)
    return model.requires_grad_(False)


def fill(model) -> None:
    """Replace all tensors of a model on the meta device by new ones, so that a tracer sees their allocation.

    Tied tensors get one new tensor. 4-bit layers get the tensors that bitsandbytes gives them.
    """
    made: dict[int, torch.Tensor] = {}

    def empty(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            fresh = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
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
                tensors[name] = packed_weight(module) if is_packed else empty(tensor)


def packed_weight(layer: bnb.nn.Linear4bit) -> nn.Parameter:
    """Return the weight of a Linear4bit with double quantisation, as bitsandbytes makes it, but without content."""
    elements = layer.out_features * layer.in_features
    blocks = -(-elements // _ABSMAX_BLOCK)

    def empty(*shape, dtype=torch.float32):
        return torch.empty(shape, dtype=dtype, device="meta")

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


def optimizer(model, request: TrainingRequest, card: EmulatedCard):
    """Return the optimiser that the Trainer would make for the run."""
    if "8bit" in request["training"]["optimizer"]:
        # On a CPU bitsandbytes keeps paged state like any other.
        return _EightBitState(model, card.is_cuda and request["training"]["optimizer"].startswith("paged"))
    arguments = fit.trainer_arguments(request, torch.device("cpu"), torch.float32, Path("."))
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    if card.is_cuda and not options.get("fused"):
        # On CUDA torch chooses this by itself, but not for tensors on the meta device.
        options["foreach"] = True
    return kind([parameter for parameter in model.parameters() if parameter.requires_grad], **options)


class _EightBitState:
    """Stands in for bitsandbytes' 8-bit Adam, whose kernels take no tensors without content.

    Its state has two bytes for each element, and two float32 for each 256 elements; of parameters under 4,096 elements
    it is float32. Paged state is allocated by the driver, so that torch's allocator does not count it
    (bitsandbytes.optim.Optimizer2State).
    """

    def __init__(self, model, paged: bool):
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.paged = paged
        self.state: dict[nn.Parameter, dict[str, torch.Tensor]] = {}

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
