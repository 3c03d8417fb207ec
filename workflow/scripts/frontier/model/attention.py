"""Causal attention of one example, with what some families add to it: a window, capped scores, sinks."""

from typing import NamedTuple

import torch
import torch.nn.functional as F


class Scores(NamedTuple):
    """How a family makes attention of products of queries and keys; None for what it does not do.

    `scaling`: the factor of the products, 1 / sqrt(head_dim) where None. `dropout`: the share of attention dropped.
    `window`: how many tokens back a token sees, itself included. `cap`: scores are cap x tanh(score / cap). `sinks`,
    (heads,): scores that take a share of the attention and have no value (gpt-oss).
    """

    scaling: float | None = None
    dropout: float = 0.0
    window: int | None = None
    cap: float | None = None
    sinks: torch.Tensor | None = None

    @property
    def is_plain(self) -> bool:
        """Whether a mask and a softmax are all that there is."""
        return self.cap is None and self.sinks is None


def attend(query, key, value, scores: Scores, product) -> torch.Tensor:
    """Return causal attention over one example, or over several of one length: (rows, heads, tokens, values' head_dim).

    query: (rows, heads, tokens, head_dim); key, value: (rows, groups, tokens, ...), each shared by as many query heads.
    `product` computes what is no more than a mask and a softmax, as `scaled_dot_product_attention` does.
    """
    grouped = query.shape[1] != key.shape[1]
    # In float32 CUDA has a fused kernel for as many heads of each alone; groups would be computed score by score.
    if grouped and (not scores.is_plain or (query.is_cuda and query.dtype == torch.float32)):
        groups = query.shape[1] // key.shape[1]
        key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
        grouped = False
    if scores.is_plain:
        how = {"scale": scores.scaling, "dropout_p": scores.dropout, "enable_gqa": grouped}
        if scores.window is None:
            return product(query, key, value, is_causal=True, **how)
        return product(query, key, value, attn_mask=_seen(query, scores.window), **how)
    found = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scores.scaling is None else scores.scaling)
    if scores.cap is not None:
        found = scores.cap * torch.tanh(found / scores.cap)
    found = found.float().masked_fill(~_seen(query, scores.window), -torch.inf)
    if scores.sinks is not None:
        sinks = scores.sinks.float().reshape(1, -1, 1, 1).expand(*found.shape[:3], 1)
        found = torch.cat([found, sinks], dim=-1)
    shares = found.softmax(dim=-1)[..., : query.shape[2]].to(value.dtype)
    return F.dropout(shares, scores.dropout) @ value


def _seen(query: torch.Tensor, window: int | None) -> torch.Tensor:
    """Return which tokens each token sees, (tokens, tokens) of booleans: itself and those before it in the window."""
    mask = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool, device=query.device).tril()
    return mask if window is None else mask.triu(1 - window)
