"""Embeddings that are stored at one precision and compute at another."""

import copy
import inspect
from types import MethodType

import torch
import torch.nn.functional as F
from torch import nn


def compute_in(module: nn.Embedding, dtype: torch.dtype) -> None:
    """Make embeddings give rows of `dtype`, looked up from a weight that stays as it is stored."""
    if _computes_with_rows(type(module)):
        module.forward = MethodType(_forward_in(dtype), module)
    module.register_forward_hook(lambda module, inputs, output: output.to(dtype))


def _computes_with_rows(kind: type[nn.Embedding]) -> bool:
    """Return whether a class of embeddings takes ids and does more than look them up.

    Gemma's multiply each row by a factor, at the precision of the weight. What takes other arguments than ids (OPT's
    positions, say) finds the ids by itself, and looks them up.
    """
    return kind.forward is not nn.Embedding.forward and len(inspect.signature(kind.forward).parameters) == 2


def _forward_in(dtype: torch.dtype):
    def forward(self, ids):
        rows = F.embedding(ids.reshape(-1), self.weight).to(dtype)
        looked_up = copy.copy(self)
        looked_up._parameters = self._parameters | {"weight": rows}
        # Which row is padding matters to gradients of the weight alone, and it has none.
        looked_up.padding_idx = None
        return type(self).forward(looked_up, torch.arange(len(rows), device=ids.device).view(ids.shape))

    return forward
