"""A batch of answers in the making."""

from typing import NamedTuple

import torch
from transformers import Cache


class Batch(NamedTuple):
    """Rows of tokens, (rows, tokens), padded on the left where `mask` is 0, and what the model keeps of them.

    `cache` is None before the first token is made, and always with a model that keeps nothing.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    cache: Cache | None = None

    @property
    def length(self) -> int:
        """Tokens of a row, padding included."""
        return self.ids.shape[1]

    def of(self, rows: torch.Tensor) -> "Batch":
        """Return the batch of some of its rows; the cache is the same object, cut in place."""
        if self.cache is not None and len(rows):
            self.cache.reorder_cache(rows)
        return Batch(self.ids[rows], self.mask[rows], self.cache)
