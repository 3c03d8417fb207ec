"""Whole examples laid end to end in one row, without padding, none of them seeing another.

Padding is work that nobody asked for: a batch of four GSM8K problems is a quarter padding. A packed row has none, but
needs two things that fail in silence when they are missing: position ids that restart with each example, and
attention that stops at its border. The second is this module's own attention, which is given the borders and so
cannot be misled by a mask of ones or by a cache.
"""

import torch
import torch.nn.functional as F
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from frontier.errors import UserError

ATTENTION = "packed"


def collate(examples: list[dict]) -> dict:
    """One packed row of the examples' `input_ids` and `labels`, each (1, tokens), and where each example begins.

    `lengths` counts each example's tokens. The labels are not shifted; an example's first token never has one.
    """
    lengths = [len(example["input_ids"]) for example in examples]
    return {
        "input_ids": torch.tensor([[token for example in examples for token in example["input_ids"]]]),
        "labels": torch.tensor([[label for example in examples for label in example["labels"]]]),
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "lengths": lengths,
    }


def packed_attention(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, lengths=None, sliding_window=None, **kwargs
):
    """Causal attention within each example of a packed row.

    query, key, value: (1, heads, tokens, head_dim); the result: (1, tokens, heads, head_dim). Follows the
    contract of transformers' AttentionInterface; `lengths` comes through the model's keyword arguments.
    """
    if lengths is None or attention_mask is not None or not sum(lengths) == query.shape[2] == key.shape[2]:
        raise ValueError("packed attention takes the examples' lengths, no mask and no cache")
    if sliding_window is not None and max(lengths) > sliding_window:
        raise UserError(f"data.max_length: takes at most the model's attention window, {sliding_window} tokens")
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise UserError("model: its attention has soft-capping or sinks, which packed attention does not compute")
    grouped = query.shape[1] != key.shape[1]
    outputs = [
        F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=grouped)
        for q, k, v in zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, lambda *args, **kwargs: None)
