"""Models as transformers loads them, with nothing thrown away of what it reports meanwhile."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from frontier.errors import UserError
from frontier.model.files import and_more
from frontier.model.headers import Tensor

# What older libraries wrote among the weights, and what models compute themselves.
_COMPUTED = ("masked_bias", "inv_freq", "position_ids")


def load_whole(folder: Path, name: str, **options) -> tuple[torch.nn.Module, list[str]]:
    """Return a causal language model, loaded with transformers' `options`, and the sorted names of unused weights.

    Raises UserError where a weight is in no file, which transformers would draw at random, or has another shape, and
    where it reports an error. `name` is what the model's user calls it.
    """
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, ignore_mismatched_sizes=True, trust_remote_code=False, **options
    )
    other_shapes = sorted(report["mismatched_keys"])
    if other_shapes:
        _, found, wanted = other_shapes[0]
        line = f"{and_more([one[0] for one in other_shapes])} in its files: {tuple(found)} for {tuple(wanted)}"
        raise UserError(f"model: {name}: config.json gives another shape than {line}")
    missing = sorted(report["missing_keys"])
    if missing:
        others = sorted(report["unexpected_keys"])
        instead = f"; they have {and_more(others)} instead" if others else ""
        raise UserError(
            f"model: {name}: no file has {and_more(missing)}, which transformers would draw at random{instead}"
        )
    if report["error_msgs"]:
        raise UserError(f"model: {name}: transformers reports {and_more(sorted(map(str, report['error_msgs'])))}")
    return model, sorted(report["unexpected_keys"])


def refuse_unused(model: torch.nn.Module, unused: list[str], tensors: dict[str, Tensor], name: str) -> list[str]:
    """Return those weights of the files that the model has no use for, and rightly so.

    Raises UserError where it should have used one: a bias of a layer that is there without, a layer more than
    config.json has. A head for rewards or a part for pictures is another model's business. `tensors` are the files'.
    """
    places = {place: module for place, module in model.named_modules() if place}
    lists = tuple(f"{place}." for place, module in places.items() if isinstance(module, torch.nn.ModuleList))
    left = [key for key in unused if not _is_computed(key, tensors.get(key))]
    lost = [
        key
        for key in left
        # Files may name weights without the name that the whole model has for its decoder.
        if any(
            one.rpartition(".")[0] in places or one.startswith(lists)
            for one in (key, f"{model.base_model_prefix}.{key}")
        )
    ]
    if lost:
        raise UserError(
            f"model: {name}: its files have {and_more(lost)}, for which the model of its config.json has no place"
        )
    return left


def refuse_infinite(model: torch.nn.Module, name: str, precision: str) -> None:
    """Raise UserError where a weight is no finite number: in the files, or since float16 holds none above 65,504."""
    for key, weight in model.named_parameters():
        state = getattr(weight, "quant_state", None)
        # The scales of the scales, and what all of them lie above, of a weight that is quantised twice.
        held = [weight] if state is None else [state.state2.absmax, state.offset] if state.nested else [state.absmax]
        for numbers in held:
            # The least and the greatest take no memory of the weight's size, as a mask over it would.
            if numbers.is_floating_point() and not all(map(torch.isfinite, torch.aminmax(numbers))):
                raise UserError(
                    f"model: {name}: {key} is not finite at {precision}: its files hold NaN, an infinity, or more than "
                    "float16 can, which fp16 and the quantised precisions pass through; bf16 and fp32 hold it"
                )


def _is_computed(key: str, tensor: Tensor | None) -> bool:
    """Return whether a tensor is none that is learned: a mask or positions, as older libraries wrote them."""
    if key.rpartition(".")[2] in _COMPUTED:
        return True
    if tensor is None:
        return False
    is_mask = len(tensor.shape) == 4 and tensor.shape[:2] == (1, 1) and tensor.shape[2] == tensor.shape[3]
    return is_mask or not is_number(tensor.dtype)


def is_number(dtype: str) -> bool:
    """Return whether a dtype of a safetensors file is one of floating-point numbers that are not quantised."""
    return dtype in ("F64", "F32", "F16", "BF16")
