"""The weight of a frozen linear layer as a dense matrix, made for each product or once."""

import bitsandbytes as bnb
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

# The attribute of a layer that keeps its dense weight.
_KEPT = "dense"
# The attribute of a layer whose weight lies elsewhere (`model.streaming`): called before the weight is read.
_ARRIVE = "arrive"
# The attribute of a layer that says in which dtype its products are computed.
_PRODUCTS = "product_dtype"


def dense_weight(layer: nn.Linear | Conv1D, dtype: torch.dtype) -> torch.Tensor:
    """Return a layer's weight as a dense (out, in) tensor of `dtype`, dequantised where it is stored as NF4 or FP4."""
    if (kept := vars(layer).get(_KEPT)) is not None:
        return kept.to(dtype)
    if arrive := vars(layer).get(_ARRIVE):
        arrive()
    if isinstance(layer, Conv1D):
        return layer.weight.T.to(dtype)
    if isinstance(layer, bnb.nn.Linear4bit):
        # A weight that is sharded over GPUs is plain storage; its scales are then on the layer.
        state = getattr(layer.weight, "quant_state", layer.quant_state)
        return bnb.functional.dequantize_4bit(layer.weight.data, state).to(dtype)
    return layer.weight.to(dtype)


def product_dtype(layer: nn.Module, x: torch.Tensor) -> torch.dtype:
    """Return the dtype in which a layer multiplies x: the one that `hold` was told, else x's own."""
    return vars(layer).get(_PRODUCTS, x.dtype)


def hold(layer: nn.Linear | Conv1D, dtype: torch.dtype, keeps: bool) -> None:
    """Prepare a frozen layer's weight for products in `dtype`, keeping it dense in that dtype where `keeps`."""
    setattr(layer, _PRODUCTS, dtype)
    if isinstance(layer, bnb.nn.Linear4bit):
        layer.weight.quant_state.dtype = dtype
    elif layer.weight.element_size() == dtype.itemsize and _ARRIVE not in vars(layer):
        layer.weight.data = layer.weight.data.to(dtype)
    if keeps:
        setattr(layer, _KEPT, dense_weight(layer, dtype))


def elements(layer: nn.Linear | Conv1D) -> int:
    """Return how many numbers a layer's dense weight has: a quantised one is stored with two in a byte."""
    return layer.in_features * layer.out_features if isinstance(layer, nn.Linear) else layer.weight.numel()
