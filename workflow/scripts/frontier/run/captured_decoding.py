"""Greedy tokens of a batch by a step that is captured in a CUDA graph once and replayed for each token.

At one token a row a GPU waits for Python: a step of a 7B model is some two thousand kernels. Captured, they are
launched at once. A graph's shapes and addresses are fixed, so keys and values lie in a cache of the full length, which
a mask hides as far as it is not filled, and rows that have ended stay until enough have to capture anew without them.
"""

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, StaticCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from frontier.model.cuda_graphs import CudaGraphs
from frontier.outcomes import Status, Stop
from frontier.run.batch import Batch

# The name under which transformers has the attention of a captured step.
ATTENTION = "one_token"
# What a configuration calls the layers whose keys and values a cache of the full length holds as they are.
_WHOLE = "full_attention"


def is_capturable(model: nn.Module, device: torch.device) -> bool:
    """Return whether a model's step of one token a row can be captured: on CUDA, with full attention by torch."""
    text = model.config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or [_WHOLE])
    windowed = getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True)
    return (
        device.type == "cuda"
        and bool(getattr(model, "_can_compile_fullgraph", False))
        and text._attn_implementation == "sdpa"
        and kinds == {_WHOLE}
        and not windowed
    )


def one_token_attention(module, query, key, value, attention_mask, scaling=None, **kwargs):
    """Compute attention of one token a row as products of each group of heads; of more tokens, as torch does.

    query: (rows, heads, 1, head_dim); key, value: (rows, groups, tokens, head_dim); `attention_mask`: booleans
    (rows, 1, 1, tokens). The result is (rows, 1, heads, head_dim), by the contract of transformers'
    AttentionInterface. Torch's own kernels would first repeat the keys and values of each group for all of its heads.
    """
    rows, heads, tokens, width = query.shape
    if tokens > 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    grouped = query.reshape(rows, key.shape[1], -1, width)
    scores = grouped @ key.transpose(2, 3) * (width**-0.5 if scaling is None else scaling)
    shares = scores.masked_fill(~attention_mask, -torch.inf).softmax(dim=-1, dtype=torch.float32)
    return (shares.to(value.dtype) @ value).reshape(rows, 1, heads, -1), None


AttentionInterface.register(ATTENTION, one_token_attention)


class CapturedDecoding:
    """Makes the next tokens of batches; the step is captured anew where a batch has other rows than the one before.

    From here on the model has the attention of captured steps.

    `length`: tokens of the longest row that there will be, prompt and answer. `graphs` captures and replays; None is
    CUDA's.
    """

    # The share of a batch's rows that must have ended before they leave it: each capture costs some steps.
    leaving = 0.5

    def __init__(self, model: nn.Module, length: int, device: torch.device, graphs: Any = None):
        self.model, self.length, self.device = model, length, device
        self.graphs = graphs or CudaGraphs(device)
        model.set_attn_implementation(ATTENTION)
        self._step: _Step | None = None

    def longer(self, batch: Batch, count: int) -> Batch:
        """Return the batch with `count` further tokens in each row; raises Stop where logits are no numbers."""
        step = self._step
        if step is None or step.cache is not batch.cache or step.rows != len(batch.ids):
            cache = batch.cache or self._filled(batch)
            self._step = step = _Step(self.model, batch, cache, self.length)
            with self.graphs.on_stream():
                # The first step is taken uncaptured: it loads the kernels.
                step.take()
                made = [step.token.clone()]
                step.graph, _ = self.graphs.capture(step.take)
        else:
            made = []
        with self.graphs.on_stream():
            while len(made) < count:
                step.graph.replay()
                made.append(step.token.clone())
        if lost := int(step.lost.sum()):
            raise Stop(Status.DIVERGED, f"logits not finite in {lost} of {step.rows} answers of a batch")
        ids = torch.cat([batch.ids, *made], dim=1)
        return Batch(ids, torch.cat([batch.mask, batch.mask.new_ones(step.rows, count)], dim=1), step.cache)

    def _filled(self, batch: Batch) -> StaticCache:
        """Return a cache with the keys and values of all tokens of the batch but the last."""
        cache = StaticCache(config=self.model.config, max_cache_len=self.length)
        ids, real = batch.ids[:, :-1], batch.mask[:, :-1].bool()
        tokens = ids.shape[1]
        if not tokens:
            return cache
        seen = torch.ones(tokens, tokens, dtype=torch.bool, device=ids.device).tril() & real[:, None, :]
        # A row that sees nothing would be no number, and reach the others through the cache.
        seen |= torch.eye(tokens, dtype=torch.bool, device=ids.device)
        mask = nn.functional.pad(seen[:, None], (0, self.length - tokens))
        positions = (real.long().cumsum(dim=1) - 1).clamp(min=0)
        self.model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1)
        return cache


class _Step:
    """A step of one token a row, whose inputs lie at fixed addresses and are moved on by the step itself.

    `token` and `positions` are (rows, 1), `mask` (rows, 1, 1, length), `slot` (1,), the place of the token in the
    cache; `lost` (rows,) has whether a row's logits were ever no numbers.
    """

    graph: Any

    def __init__(self, model: nn.Module, batch: Batch, cache: StaticCache, length: int):
        self.model, self.cache, self.rows = model, cache, len(batch.ids)
        real = batch.mask.bool()
        self.token = batch.ids[:, -1:].clone()
        self.positions = real.sum(dim=1, keepdim=True) - 1
        self.mask = nn.functional.pad(real, (0, length - real.shape[1]))[:, None, None]
        self.slot = torch.full((1,), real.shape[1] - 1, device=real.device)
        self.lost = torch.zeros(self.rows, dtype=torch.bool, device=real.device)

    def take(self) -> None:
        """Take the step; the next tokens are the step's own next input, `token`."""
        self.mask.index_fill_(3, self.slot, True)
        logits = self.model(
            input_ids=self.token, attention_mask=self.mask, position_ids=self.positions, past_key_values=self.cache
        ).logits[:, -1]
        # The largest is no number where any is not.
        self.lost |= ~logits.amax(dim=-1).isfinite()
        self.token.copy_(logits.float().argmax(dim=-1, keepdim=True))
        self.positions += 1
        self.slot += 1
