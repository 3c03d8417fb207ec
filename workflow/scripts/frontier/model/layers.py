"""Linear layers that store weights at one precision and compute at another, with their LoRA adapter fused in.

A processor often multiplies fast at one precision only (a desktop CPU at float32, a graphics card at 16 bits), while
memory asks for weights at another. Each layer here casts or dequantises its weight for the one product that needs it
and keeps no copy, forward or backward, so the cost of a precision is its storage and nothing else. What goes into a
layer and comes out of it may have a third dtype: on a CPU, products in bfloat16 lie between states in float32.
"""

from collections.abc import Collection
from types import MethodType

import bitsandbytes as bnb
import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from frontier.model import dense, embeddings
from frontier.model.dense import dense_weight, product_dtype

# Classes of linear layers by whether they compute a product and nothing else; others are added as they are met.
_PLAIN: dict[type, bool] = {nn.Linear: True, bnb.nn.Linear4bit: True, Conv1D: True}


class _FrozenLinear(torch.autograd.Function):
    """A frozen layer's product, x (tokens, in) -> (tokens, out); it saves nothing for the backward pass."""

    @staticmethod
    def forward(ctx, x, layer):
        ctx.layer, ctx.products = layer, product_dtype(layer, x)
        bias = None if layer.bias is None else layer.bias.to(ctx.products)
        return F.linear(x.to(ctx.products), dense_weight(layer, ctx.products), bias).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return (gradient.to(ctx.products) @ dense_weight(ctx.layer, ctx.products)).to(gradient.dtype), None


class _LoraLinear(torch.autograd.Function):
    """A frozen layer with its adapter: x W' + bias + scaling (d A') B', where d is x after LoRA's dropout.

    x and d are (tokens, in), A is (rank, in), B is (out, rank), the result is (tokens, out). A and B are float32; they
    and x are cast to the dtype of the products, the result back to x's. `dropped` is d, or None where there is no
    dropout and d is x. Saves d and the (tokens, rank) projection, nothing of the layer's output size.
    """

    @staticmethod
    def forward(ctx, x, dropped, lora_a, lora_b, scaling, layer):
        products = product_dtype(layer, x)
        rows = x.to(products)
        adapted = rows if dropped is None else dropped.to(products)
        bias = None if layer.bias is None else layer.bias.to(products)
        output = F.linear(rows, dense_weight(layer, products), bias)
        projected = adapted @ lora_a.to(products).T
        output.addmm_(projected, lora_b.to(products).T, alpha=scaling)
        ctx.save_for_backward(adapted, projected, lora_a, lora_b)
        ctx.layer, ctx.scaling, ctx.has_dropout = layer, scaling, dropped is not None
        return output.to(x.dtype)

    @staticmethod
    def backward(ctx, incoming):
        adapted, projected, lora_a, lora_b = ctx.saved_tensors
        gradient = incoming.to(adapted.dtype)
        gradient_projected = (gradient @ lora_b.to(gradient.dtype)).mul_(ctx.scaling)
        gradient_b = (gradient.T @ projected).to(lora_b.dtype).mul_(ctx.scaling)
        gradient_a = (gradient_projected.T @ adapted).to(lora_a.dtype)
        gradient_x = gradient_dropped = None
        if ctx.needs_input_grad[0]:
            gradient_x = gradient @ dense_weight(ctx.layer, gradient.dtype)
        if ctx.has_dropout:
            gradient_dropped = gradient_projected @ lora_a.to(gradient.dtype)
        elif gradient_x is not None:
            gradient_x.addmm_(gradient_projected, lora_a.to(gradient.dtype))
        gradient_x, gradient_dropped = (
            None if one is None else one.to(incoming.dtype) for one in (gradient_x, gradient_dropped)
        )
        return gradient_x, gradient_dropped, gradient_a, gradient_b, None, None


def _frozen_forward(self, x):
    return _FrozenLinear.apply(x.reshape(-1, x.shape[-1]), self).view(*x.shape[:-1], -1)


def _lora_forward(self, x):
    name = self.active_adapters[0]
    rows = x.reshape(-1, x.shape[-1])
    dropout = self.lora_dropout[name]
    dropped = dropout(rows) if self.training and not isinstance(dropout, nn.Identity) else None
    output = _LoraLinear.apply(
        rows, dropped, self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name], self.get_base_layer()
    )
    return output.view(*x.shape[:-1], -1)


def compute_in(
    model: nn.Module,
    dtype: torch.dtype,
    read_directly: Collection[str] = (),
    room: int = 0,
    states: torch.dtype | None = None,
) -> nn.Module:
    """Make `model` (plain or PEFT) compute in `dtype` over weights that stay as they are stored, and return it.

    Linear layers cast their weight for each product, or once where that takes no more memory, or where all their dense
    weights together take no more than `room` bytes; the products are the same either way. All that is no such product
    is computed in `states`, which is `dtype` where it is None: embeddings cast the rows that they look up, and the few
    remaining parameters and buffers (norms, routers) are cast once, as are the weights of the linear layers with the
    names `read_directly`, which the model reads other than by calling the layer. bitsandbytes' int8 layers keep their
    own product, which has no dense weight to cast.
    """
    states = states or dtype
    cast = [one for name, one in model.named_modules() if is_castable(one) and not is_named(name, read_directly)]
    keeps = sum(map(dense.elements, cast)) * dtype.itemsize <= room
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            embeddings.compute_in(module, states)
        elif isinstance(module, LoraLayer) and is_castable(module.get_base_layer()):
            module.forward = MethodType(_lora_forward, module)
        elif is_castable(module) and not is_named(name, read_directly):
            dense.hold(module, dtype, keeps)
            module.forward = MethodType(_frozen_forward, module)
        else:
            _cast_own(module, states)
    return model


def _cast_own(module: nn.Module, dtype: torch.dtype) -> None:
    """Cast a module's own frozen parameters, and those of its buffers that are stored in 16 bits, to `dtype`.

    Numbers of one byte are left alone: without the scales that belong to them they mean nothing.
    """
    for parameter in module.parameters(recurse=False):
        if not parameter.requires_grad and parameter.is_floating_point() and parameter.element_size() > 1:
            parameter.data = parameter.data.to(dtype)
    for buffer in module.buffers(recurse=False):
        if buffer.dtype in (torch.float16, torch.bfloat16):
            buffer.data = buffer.data.to(dtype)


def draws_randomly(model: nn.Module) -> bool:
    """Return whether the model in training draws random numbers: dropout, or a router's jitter, LoRA's or its own."""
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p > 0:
            return True
        drawn = (value for name, value in vars(module).items() if "dropout" in name or "jitter" in name)
        if any(isinstance(value, float) and value > 0 for value in drawn):
            return True
    return False


def is_named(name: str, endings: Collection[str]) -> bool:
    """Return whether a module's dotted name is one of some, or ends in one as PEFT's target names do."""
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)


def is_castable(module: nn.Module) -> bool:
    """Return whether a module is a frozen linear layer, with a dense weight, stored or dequantised, and nothing more.

    LoRA's own matrices are linear layers too; they are trained, so they are none of these.
    """
    if not isinstance(module, nn.Linear | Conv1D) or isinstance(module, bnb.nn.Linear8bitLt):
        return False
    return not module.weight.requires_grad and is_plain(type(module))


def is_plain(kind: type[nn.Module]) -> bool:
    """Return whether a class of linear layers computes x W' + b and nothing else, as a small one of it shows.

    A router that also picks experts, or a layer with scales of its own, keeps its own forward pass.
    """
    if kind not in _PLAIN:
        _PLAIN[kind] = _computes_a_product(kind)
    return _PLAIN[kind]


def _computes_a_product(kind: type[nn.Module]) -> bool:
    try:
        with torch.device("cpu"), torch.no_grad(), torch.random.fork_rng(devices=[]):
            layer, x = kind(8, 4), torch.randn(3, 8)
            return bool(torch.allclose(layer(x), F.linear(x, layer.weight, layer.bias), atol=1e-5))
    # Any error of such a class means that it is not made or called as a linear layer is.
    except Exception:
        return False
