"""Linear layers that store weights at one precision and compute at another, with their LoRA adapter fused in.

A processor often multiplies fast at one precision only (a desktop CPU at float32, a graphics card at 16 bits), while
memory asks for weights at another. Each layer here casts or dequantises its weight for the one product that needs it
and keeps no copy, forward or backward, so the cost of a precision is its storage and nothing else.
"""

from types import MethodType

import bitsandbytes as bnb
import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from torch import nn


def dense_weight(layer: nn.Linear, dtype: torch.dtype) -> torch.Tensor:
    """Return a layer's weight as a dense (out, in) tensor of `dtype`, dequantised where it is stored as NF4 or FP4."""
    if isinstance(layer, bnb.nn.Linear4bit):
        # A weight that is sharded over GPUs is plain storage; its scales are then on the layer.
        state = getattr(layer.weight, "quant_state", layer.quant_state)
        return bnb.functional.dequantize_4bit(layer.weight.data, state).to(dtype)
    return layer.weight.to(dtype)


class _FrozenLinear(torch.autograd.Function):
    """A frozen layer's product, x (tokens, in) -> (tokens, out); it saves nothing for the backward pass."""

    @staticmethod
    def forward(ctx, x, layer):
        ctx.layer = layer
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        return F.linear(x, dense_weight(layer, x.dtype), bias)

    @staticmethod
    def backward(ctx, gradient):
        return gradient @ dense_weight(ctx.layer, gradient.dtype), None


class _LoraLinear(torch.autograd.Function):
    """A frozen layer with its adapter: x W' + bias + scaling (d A') B', where d is x after LoRA's dropout.

    x and d are (tokens, in), A is (rank, in), B is (out, rank), the result is (tokens, out). A and B are float32 and
    are cast to x's dtype for the products. `dropped` is d, or None where there is no dropout and d is x. Saves d and
    the (tokens, rank) projection, nothing of the layer's output size.
    """

    @staticmethod
    def forward(ctx, x, dropped, lora_a, lora_b, scaling, layer):
        adapted = x if dropped is None else dropped
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        output = F.linear(x, dense_weight(layer, x.dtype), bias)
        projected = adapted @ lora_a.to(x.dtype).T
        output.addmm_(projected, lora_b.to(x.dtype).T, alpha=scaling)
        ctx.save_for_backward(adapted, projected, lora_a, lora_b)
        ctx.layer, ctx.scaling, ctx.has_dropout = layer, scaling, dropped is not None
        return output

    @staticmethod
    def backward(ctx, gradient):
        adapted, projected, lora_a, lora_b = ctx.saved_tensors
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


def compute_in(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Make `model` (plain or PEFT) compute in `dtype` over weights that stay as they are stored, and return it.

    Linear layers cast their weight for each product, or once where that takes no more memory. Embeddings cast their
    output. The few remaining parameters (norms) are cast once. bitsandbytes' int8 layers keep their own product, which
    has no dense weight to cast.
    """
    embeddings = model.get_input_embeddings()
    embeddings.register_forward_hook(lambda module, inputs, output: output.to(dtype))
    for module in model.modules():
        if isinstance(module, LoraLayer) and _is_castable(module.get_base_layer()):
            module.forward = MethodType(_lora_forward, module)
        elif _is_castable(module):
            if isinstance(module, bnb.nn.Linear4bit):
                module.weight.quant_state.dtype = dtype
            elif module.weight.element_size() == dtype.itemsize and not module.weight.requires_grad:
                module.weight.data = module.weight.data.to(dtype)
            module.forward = MethodType(_frozen_forward, module)
        elif module is not embeddings:
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad and parameter.is_floating_point():
                    parameter.data = parameter.data.to(dtype)
    return model


def _is_castable(module: nn.Module) -> bool:
    """Return whether a module is a linear layer that has a dense weight, stored or dequantised."""
    return isinstance(module, nn.Linear) and not isinstance(module, bnb.nn.Linear8bitLt)
