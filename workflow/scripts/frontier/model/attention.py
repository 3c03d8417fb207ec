"""Causal attention of one example, with what some families add to it: a window, capped scores, sinks."""

from typing import NamedTuple

import torch
import torch.nn.functional as F


class Extras(NamedTuple):
    """What a family's attention has beside softmax of scaled products; None for what it has not.

    `window`: how many tokens back a token sees, itself included. `cap`: scores are cap x tanh(score / cap). `sinks`,
    (heads,): scores that take a share of the attention and have no value (gpt-oss).
    """

    window: int | None = None
    cap: float | None = None
    sinks: torch.Tensor | None = None


def attend(query, key, value, scaling, dropout: float, extras: Extras, product) -> torch.Tensor:
    """Return causal attention over one example: (1, heads, tokens, values' head_dim).

    query: (1, heads, tokens, head_dim); key, value: (1, groups, tokens, ...), each shared by as many query heads.
    `product` computes what is no more than a mask and a softmax, as `scaled_dot_product_attention` does.
    """
    grouped = query.shape[1] != key.shape[1]
    how = {"scale": scaling, "dropout_p": dropout, "enable_gqa": grouped}
    if extras == Extras():
        return product(query, key, value, is_causal=True, **how)
    if extras.cap is None and extras.sinks is None:
        return product(query, key, value, attn_mask=_seen(query, extras.window), **how)
    if grouped:
        groups = query.shape[1] // key.shape[1]
        key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if extras.cap is not None:
        scores = extras.cap * torch.tanh(scores / extras.cap)
    scores = scores.float().masked_fill(~_seen(query, extras.window), -torch.inf)
    if extras.sinks is not None:
        sinks = extras.sinks.float().reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sinks], dim=-1)
    shares = scores.softmax(dim=-1)[..., : query.shape[2]].to(value.dtype)
    return F.dropout(shares, dropout) @ value


def _seen(query: torch.Tensor, window: int | None) -> torch.Tensor:
    """Return which tokens each token sees, (tokens, tokens) of booleans: itself and those before it in the window."""
    mask = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool, device=query.device).tril()
    return mask if window is None else mask.triu(1 - window)
