"""Which linear layers of a model get an adapter."""

from collections.abc import Collection

import bitsandbytes as bnb
from peft import LoraConfig
from peft.tuners.lora import LoraModel
from torch import nn
from transformers.pytorch_utils import Conv1D

from frontier.errors import UserError, first_line
from frontier.model.layers import is_named, is_plain
from frontier.model.loss import decoder_of

# The target that means every linear layer but the head.
ALL = "all-linear"


def adapted_layers(model, targets: str | list[str], read_directly: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """Return the names of the layers that get an adapter, and of those that `all-linear` leaves out.

    `targets` is "all-linear", or endings of layers' names. Left out are layers whose adapter would never act: those
    that PEFT says cannot have one, those of a class that does more than a product, and those with the names
    `read_directly`, whose weight the model reads other than by calling the layer. Layers outside the text decoder (a
    vision tower's) are not looked at. Raises UserError for a target that no layer has.
    """
    linear = linear_layers(model)
    refused = {name: why for name in linear if (why := _refusal(model, name, linear[name], read_directly))}
    if targets == ALL:
        names = [name for name in linear if name not in refused]
        if not names:
            raise UserError("lora.targets: got all-linear, and this model has no linear layer that can have an adapter")
        return names, sorted({_short(name) for name in refused})
    endings = [targets] if isinstance(targets, str) else targets
    for ending in endings:
        if not any(is_named(name, [ending]) for name in linear):
            known = sorted({_short(name) for name in linear})
            raise UserError(f"lora.targets: got {ending}, which no layer is called; there are {', '.join(known)}")
    names = [name for name in linear if is_named(name, endings)]
    if bad := next((name for name in names if name in refused), None):
        raise UserError(f"lora.targets: got {_short(bad)}, which cannot have an adapter here: {refused[bad]}")
    return names, []


def linear_layers(model) -> dict[str, nn.Module]:
    """Return the linear layers of a causal model's text decoder, by their names in the model."""
    decoder, head = decoder_of(model), model.get_output_embeddings()
    inside = {id(module) for module in decoder.modules()}
    kinds = (nn.Linear, Conv1D)
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, kinds) and id(module) in inside and module is not head
    }


def _refusal(model, name: str, layer: nn.Module, read_directly: Collection[str]) -> str | None:
    """Return why a layer cannot have an adapter, or None."""
    if not isinstance(layer, bnb.nn.Linear8bitLt) and not is_plain(type(layer)):
        return f"a {type(layer).__name__} does more than a product"
    if is_named(name, read_directly):
        return "its weight is read without calling the layer"
    try:
        # What PEFT asks of each target before it puts a layer there; it uses nothing of its own object.
        LoraModel._check_target_module_compatiblity(None, LoraConfig(), model, _short(name))
    except ValueError as error:
        return first_line(error)
    return None


def _short(name: str) -> str:
    return name.rpartition(".")[2]
