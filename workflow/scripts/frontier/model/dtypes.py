"""The dtypes behind the names of a configuration: what a precision stores, and what products are computed in."""

import torch

from frontier.errors import UserError
from frontier.machine import processor

# What a configuration's `compute_dtype` can be beside `auto`.
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# The precisions that store weights as floating-point numbers, and how.
STORED = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# The precisions that bitsandbytes quantises weights to.
QUANTIZED = ("nf4", "fp4", "int8")
# Those of them that store 4 bits a weight.
FOUR_BIT = ("nf4", "fp4")
# The least CUDA compute capability that multiplies bfloat16 (Ampere). torch calls older cards able too: there it
# computes in float32 and rounds, slower than float16 and for nothing.
_BFLOAT16_CAPABILITY = (8, 0)


def stored_dtype(precision: str) -> torch.dtype:
    """Return the dtype of a base's weights that are not quantised; in a quantised base they are float16."""
    return STORED.get(precision, torch.float16)


def multiplies_bfloat16(capability: tuple[int, int]) -> bool:
    """Return whether a GPU of a CUDA compute capability has products of bfloat16, rather than emulates them."""
    return tuple(capability) >= _BFLOAT16_CAPABILITY


def state_dtype(products: torch.dtype, device: torch.device) -> torch.dtype:
    """Return the dtype of hidden states, norms and attention where the matrix products are of dtype `products`.

    On a CPU that is float32 always: it gains its speed by the products, and the loss stays that of float32 within the
    noise of a seed. On a GPU states are as the products.
    """
    return torch.float32 if device.type == "cpu" else products


def name_of(dtype: torch.dtype) -> str:
    """Return a dtype's name as a configuration has it."""
    return str(dtype).removeprefix("torch.")


def compute_dtype(
    requested: str, precision: str, device: torch.device, capability: tuple[int, int] | None = None
) -> torch.dtype:
    """Return the dtype of the matrix products: the one requested, or for `auto` what the device multiplies fast.

    A CPU computes in bfloat16 where it is of a kind that multiplies it fast, whatever is stored, and else in float32:
    most others emulate 16-bit products, at an eighth of the speed. A GPU computes in the 16 bits that are stored, and
    over a quantised base in bfloat16 where the card has that. `capability` is the card's, or where that is None, the
    present GPU's; a plan and a run ask here alike. Raises UserError where that is bfloat16 and the card has no
    products of it.
    """
    if device.type == "cpu":
        fast = torch.bfloat16 if processor.multiplies_bfloat16() else torch.float32
        return fast if requested == "auto" else DTYPES[requested]
    wanted = STORED.get(precision) if requested == "auto" else DTYPES[requested]
    if wanted not in (None, torch.bfloat16):
        return wanted
    has_bfloat16 = multiplies_bfloat16(capability or torch.cuda.get_device_capability(device))
    if wanted and not has_bfloat16:
        raise UserError("compute_dtype: this card does not multiply bfloat16; use fp16, or compute_dtype float16")
    return torch.bfloat16 if has_bfloat16 else torch.float16
