"""Base models of random weights made on the card, and taken back from one adapter for the next."""

import sys

import bitsandbytes as bnb
import torch
from frontier.model import dtypes, packing
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

_SPREAD = 0.02


def build(config: AutoConfig, precision: str, device: torch.device):
    """A frozen model with the storage that `bases.load` gives it; NF4 layers are quantised one at a time."""
    dtype = dtypes.stored_dtype(precision)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=packing.ATTENTION)
    head = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        if precision == "nf4" and isinstance(module, nn.Linear) and module is not head:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, _quantized(module, device))
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.is_meta:
                fresh = _filled(name, parameter, device)
                module._parameters[name] = nn.Parameter(fresh, requires_grad=False)
    model.tie_weights()
    decoder = model.get_decoder()
    with torch.device(device):
        decoder.rotary_emb = type(decoder.rotary_emb)(config)
    return model.requires_grad_(False)


def snapshot(model) -> dict:
    """What fused kernels replace in the model's own module of code."""
    return dict(vars(_code(model)))


def without_adapter(model, code: dict):
    """The base as it was before an adapter, fused kernels and own forward passes were put on it."""
    vars(_code(model)).update(code)
    for name, module in list(model.named_modules()):
        if hasattr(module, "base_layer"):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.base_layer)
    for module in model.modules():
        module.__dict__.pop("forward", None)
        module._forward_hooks.clear()
    embeddings = model.get_input_embeddings()
    if not embeddings.weight.numel():
        shape, dtype = (embeddings.num_embeddings, embeddings.embedding_dim), embeddings.weight.dtype
        fresh = _filled("weight", torch.empty(shape, dtype=dtype, device="meta"), embeddings.weight.device)
        embeddings.weight = nn.Parameter(fresh, requires_grad=False)
    if model.is_gradient_checkpointing:
        model.gradient_checkpointing_disable()
    model.__dict__.pop("peft_config", None)
    return model.requires_grad_(False)


def _code(model):
    return sys.modules[type(model).__module__]


def _filled(name: str, like: torch.Tensor, device: torch.device) -> torch.Tensor:
    if like.dim() > 1:
        return torch.randn(like.shape, device=device, dtype=like.dtype).mul_(_SPREAD)
    return torch.full(like.shape, 0.0 if name == "bias" else 1.0, device=device, dtype=like.dtype)


def _quantized(linear: nn.Linear, device: torch.device) -> bnb.nn.Linear4bit:
    layer = bnb.nn.Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=torch.float32,
        compress_statistics=True,
        quant_type="nf4",
        device="meta",
    )
    weight = _filled("weight", linear.weight, device)
    layer.weight = bnb.nn.Params4bit(
        weight, requires_grad=False, quant_type="nf4", compress_statistics=True, module=layer
    ).to(device)
    if linear.bias is not None:
        layer.bias = nn.Parameter(_filled("bias", linear.bias, device), requires_grad=False)
    return layer
