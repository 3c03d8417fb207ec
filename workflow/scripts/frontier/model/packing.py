"""Lay whole examples end to end in one row, without padding, none of them seeing another.

Padding is work that nobody asked for: a batch of four GSM8K problems is a quarter padding. A packed row has none, but
needs two things that fail in silence when they are missing: position ids that restart with each example, and
attention that stops at its border. The second is this module's own attention, which is given the borders and so
cannot be misled by a mask of ones or by a cache. transformers makes no mask for an attention it has no masks of.
"""

import inspect
from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from frontier.model.attention import Scores, attend

ATTENTION = "packed"
_HALF = (torch.float16, torch.bfloat16)
# Numbers of a head, by flash attention's kernels.
_WIDEST_HEAD = 256
# Tensors that families hand to their attention and that are known here: positions change nothing of it.
_KNOWN = ("position_ids", "cache_position", "s_aux")
# Before 2.12 torch takes grouped heads without being told.
_GROUPED = {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}


def collate(examples: list[dict]) -> dict:
    """Return one packed row of the examples' `input_ids` and `labels`, each (1, tokens), and where each example begins.

    `lengths` counts each example's tokens. The labels are not shifted; an example's first token never has one.
    """
    lengths = [len(example["input_ids"]) for example in examples]
    # numpy reads Python's numbers several times faster than torch does, and the device waits for it.
    input_ids, labels = (np.concatenate([example[key] for example in examples]) for key in ("input_ids", "labels"))
    return {
        "input_ids": torch.from_numpy(input_ids)[None],
        "labels": torch.from_numpy(labels)[None],
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "lengths": lengths,
    }


def halves(batch: dict) -> list[dict]:
    """Return a packed row as two, each of half the examples."""
    lengths = batch["lengths"]
    middle = len(lengths) // 2
    tokens = sum(lengths[:middle])
    parts = [(slice(None, tokens), lengths[:middle]), (slice(tokens, None), lengths[middle:])]
    return [
        {key: batch[key][:, part] for key in ("input_ids", "labels", "position_ids")} | {"lengths": counts}
        for part, counts in parts
    ]


def apart(batch: dict) -> list[dict]:
    """Return a packed row as a row for each example."""
    names, ends = ("input_ids", "labels", "position_ids"), [0, *accumulate(batch["lengths"])]
    return [
        {name: batch[name][:, start:end] for name in names} | {"lengths": [end - start]}
        for start, end in pairwise(ends)
    ]


def borders(lengths: list[int], device: torch.device) -> torch.Tensor:
    """Return where each example of a packed row begins and the last one ends: (examples + 1,) int32 on `device`."""
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)


def has_varlen(device: torch.device) -> bool:
    """Return whether torch's variable-length attention runs on the device: on an NVIDIA GPU from Ampere on alone."""
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


def packed_attention(
    module,
    query,
    key,
    value,
    attention_mask,
    scaling=None,
    dropout=0.0,
    lengths=None,
    borders=None,
    longest=None,
    sliding_window=None,
    product=F.scaled_dot_product_attention,
    **kwargs,
):
    """Compute causal attention within each example of a packed row.

    query, key, value: (1, heads, tokens, head_dim); the result: (1, tokens, heads, head_dim), by the contract of
    transformers' AttentionInterface. `lengths`, or `borders` with the `longest` example's length, come through the
    model's keyword arguments. With borders, 16-bit products are one kernel over all examples where that knows all that
    the family asks for; elsewhere each example is a `product` of its own, so that no result depends on its neighbours.
    """
    tokens = query.shape[2]
    known = borders is not None and longest is not None if lengths is None else sum(lengths) == tokens
    if not known or attention_mask is not None or key.shape[2] != tokens:
        raise ValueError("packed attention takes the examples' lengths, no mask and no cache")
    if unknown := [name for name, value in kwargs.items() if torch.is_tensor(value) and name not in _KNOWN]:
        raise ValueError(f"packed attention has no {unknown[0]}, which the family's own takes")
    longest = max(lengths) if longest is None else longest
    window = sliding_window if sliding_window is not None and sliding_window < longest else None
    scores = Scores(scaling, dropout, window, kwargs.get("softcap"), kwargs.get("s_aux"))
    if borders is not None and not dropout and _fits_varlen(query, value, scores):
        rows = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        seen = (-1 if window is None else window - 1, 0)
        output = varlen_attn(*rows, borders, borders, longest, longest, scale=scaling, window_size=seen, **_GROUPED)
        return output[None], None
    if query.is_cuda and len(lengths) > 1 and scores.is_plain and not dropout and not torch.is_grad_enabled():
        return _padded(query, key, value, lengths, scores, product), None
    return _alone(query, key, value, lengths, scores, product), None


def _alone(query, key, value, lengths: list[int], scores: Scores, product) -> torch.Tensor:
    """Return `packed_attention` by a product of its own for each example."""
    alone = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    outputs = [attend(q, k, v, scores, product) for q, k, v in alone]
    # Some families view the result instead of reshaping it, as that of transformers' own attention allows.
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous()


def _padded(query, key, value, lengths: list[int], scores: Scores, product) -> torch.Tensor:
    """Return `packed_attention` by one product over all examples, each padded at its end, where none of its tokens see.

    A product of its own for each example keeps a GPU waiting for Python. The gradients of this one would be sums in an
    order of chance.
    """
    taken, kept = _places(tuple(lengths), query.device)
    queries, keys, values = (
        tensor[0].index_select(1, taken).unflatten(1, (len(lengths), -1)).transpose(0, 1)
        for tensor in (query, key, value)
    )
    output = attend(queries, keys, values, scores, product)
    return output.transpose(1, 2).flatten(0, 1).index_select(0, kept)[None]


@lru_cache(maxsize=1)
def _places(lengths: tuple[int, ...], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which tokens of a packed row stand in rows padded to the longest, and where its own tokens stand there.

    All layers of a model ask for the same. An example is padded with its last token.
    """
    places, counts = torch.arange(max(lengths)), torch.tensor(lengths)[:, None]
    starts = counts.cumsum(dim=0) - counts
    taken = starts + places.minimum(counts - 1)
    kept = (places < counts).flatten().nonzero().squeeze(1)
    return taken.flatten().to(device), kept.to(device)


def _fits_varlen(query: torch.Tensor, value: torch.Tensor, scores: Scores) -> bool:
    """Return whether torch's variable-length attention computes these: 16 bits, heads of the kernel's sizes."""
    width = query.shape[-1]
    return (
        scores.is_plain
        and query.dtype in _HALF
        and width % 8 == 0
        and width <= _WIDEST_HEAD
        and value.shape[-1] == width
    )


AttentionInterface.register(ATTENTION, packed_attention)
