"""Replacements on the meta device for kernels that need real data: fused kernels, attention, and their scratch memory.

Each allocates, keeps for the backward pass and frees what the kernel in whose place it stands does.
"""

import os
import re
import sys
from functools import partial

import torch
from torch import nn
from transformers import AttentionInterface

from frontier.machine.substitution import replaced
from frontier.model import levers, packing

ATTENTION_ON_CARD = "packed_on_traced_card"
ATTENTION_ON_CPU = "packed_on_traced_cpu"
ANSWERING_ON_CARD = "answering_on_traced_card"
ANSWERING_ON_CPU = "answering_on_traced_cpu"


class _Norm(torch.autograd.Function):
    """liger-kernel's RMS norm: keeps its input and a float32 per row; writes its gradient over the incoming one."""

    @staticmethod
    def forward(ctx, x, weight):
        scale = torch.empty(x.shape[:-1], dtype=torch.float32, device=x.device)
        ctx.save_for_backward(x, weight, scale)
        return x * weight

    @staticmethod
    def backward(ctx, gradient):
        x, _, _ = ctx.saved_tensors
        return gradient.mul_(x), None


class _GatedActivation(torch.autograd.Function):
    """liger-kernel's SiLU of a gate times a value: keeps both, and writes their gradients over them."""

    @staticmethod
    def forward(ctx, gate, value):
        ctx.save_for_backward(gate, value)
        return gate * value

    @staticmethod
    def backward(ctx, gradient):
        gate, value = ctx.saved_tensors
        torch.mul(gradient, value, out=gate)
        return gate, value


class _Rotary(torch.autograd.Function):
    """liger-kernel's rotary embedding, which rotates queries and keys in place."""

    @staticmethod
    def forward(ctx, query, key):
        return query.view_as(query), key.view_as(key)

    @staticmethod
    def backward(ctx, query, key):
        return query, key


def fuse(model) -> bool:
    """Do for the trace what `levers.fuse` does; return whether liger-kernel replaces the model's layers."""
    if model.config.model_type not in levers.DECODERS:
        return False
    norms = [module for module in model.modules() if type(module).__name__.endswith("RMSNorm")]
    gated = [module for module in model.modules() if _is_gated(module)]
    modeling = sys.modules[type(model).__module__]
    for norm in norms:
        norm.forward = lambda x, norm=norm: _Norm.apply(x, norm.weight)
    for layer in gated:
        layer.forward = lambda x, layer=layer: layer.down_proj(
            _GatedActivation.apply(layer.gate_proj(x), layer.up_proj(x))
        )
    for layer in model.modules():
        if type(layer).__name__.endswith("Attention"):
            layer.forward = _with_rotary(layer.forward, modeling)
    return True


def offload_embeddings(model) -> bool:
    """Do for the trace what `levers.offload_embeddings` does: rows come from the host, and no matrix is on the card."""
    embeddings = model.get_input_embeddings()
    if embeddings.weight is getattr(model.get_output_embeddings(), "weight", None):
        return False
    dtype, width = embeddings.weight.dtype, embeddings.weight.shape[1]
    embeddings.weight = nn.Parameter(embeddings.weight.new_empty(0), requires_grad=False)
    embeddings.forward = lambda ids: torch.empty(*ids.shape, width, dtype=dtype, device=ids.device)
    return True


def _with_rotary(forward, modeling):
    """Return an attention layer's forward pass with the fused rotary embedding in the place of its module's own."""

    def wrapped(*args, **kwargs):
        with replaced(modeling, "apply_rotary_pos_emb", lambda query, key, *_, **__: _Rotary.apply(query, key)):
            return forward(*args, **kwargs)

    return wrapped


def _is_gated(module: nn.Module) -> bool:
    return type(module).__name__.endswith("MLP") and all(
        hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj")
    )


def work_space(name: str, inputs: list[torch.Tensor]) -> int:
    """Return the bytes that a kernel allocates beside its results and frees before it returns.

    logsumexp subtracts the maximum in a copy (aten/native/ReduceOps.cpp). Flash attention's backward pass adds up the
    gradient of queries in float32, and those of keys and values that heads share for each head
    (aten/native/transformers/cuda).
    """
    if name.startswith("aten.logsumexp"):
        return inputs[0].numel() * inputs[0].itemsize
    if "attn_backward" in name or "flash_attention_backward" in name:
        if "for_cpu" in name:
            return 0
        gradient, query, key = inputs[:3]
        size = gradient.numel() * 4
        if key.numel() != query.numel():
            size += 2 * query.numel() * query.itemsize
        return size
    return 0


def library_space(card) -> list[int]:
    """Return the bytes of cuBLAS's work spaces: one for the thread of the forward pass, one for the backward pass's.

    CUBLAS_WORKSPACE_CONFIG says how much, in pairs of KiB and count. Without it, it is 32 MiB from compute capability 9
    on, and 8 MiB and 128 KiB before (aten/cuda/CublasHandlePool.cpp).
    """
    if not card.is_cuda:
        return []
    pairs = re.findall(r":(\d+):(\d+)", os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""))
    told = sum(int(size) * int(count) * 2**10 for size, count in pairs)
    return 2 * [told or (32 * 2**20 if card.capability >= (9, 0) else 8 * 2**20 + 128 * 2**10)]


def _flash_attention(query, key, value, is_causal=False, scale=None, dropout_p=0.0, **_):
    """Call the kernel that `scaled_dot_product_attention` takes on a card for causal attention in 16 bits."""
    return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, scale=scale)[0]


def _cpu_attention(query, key, value, is_causal=False, scale=None, dropout_p=0.0, **how):
    """Call the kernel that `scaled_dot_product_attention` takes on a CPU."""
    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return attend(query, key, value, dropout_p, is_causal, attn_mask=how.get("attn_mask"), scale=scale)[0]


def _answering(module, query, key, value, attention_mask, product=_flash_attention, **how):
    """Do for the trace what a model's own attention does over padded prompts and a cache.

    transformers repeats the keys and values that heads share, and torch makes the mask one number of each dtype for
    each pair of tokens.
    """
    groups = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(groups, dim=1) if groups > 1 else tensor for tensor in (key, value))
    mask = query.new_empty(query.shape[0], 1, query.shape[2], key.shape[2])
    output = product(query, key, value, scale=how.get("scaling"))
    del mask
    return output.transpose(1, 2).contiguous(), None


# For tensors without content `scaled_dot_product_attention` uses plain products instead of the device's kernel, so the
# kernels are named here.
AttentionInterface.register(ATTENTION_ON_CARD, partial(packing.packed_attention, product=_flash_attention))
AttentionInterface.register(ATTENTION_ON_CPU, partial(packing.packed_attention, product=_cpu_attention))
AttentionInterface.register(ANSWERING_ON_CARD, _answering)
AttentionInterface.register(ANSWERING_ON_CPU, partial(_answering, product=_cpu_attention))
