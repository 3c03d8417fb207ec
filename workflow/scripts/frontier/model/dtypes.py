"""The dtypes behind the names of a configuration: what a precision stores, and what products are computed in."""

import torch

# What a configuration's `compute_dtype` can be beside `auto`.
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# The precisions that store weights as floating-point numbers, and how.
STORED = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# The precisions that bitsandbytes quantises weights to.
QUANTIZED = ("nf4", "fp4", "int8")
# Those of them that store 4 bits a weight.
FOUR_BIT = ("nf4", "fp4")


def stored_dtype(precision: str) -> torch.dtype:
    """Return the dtype of a base's weights that are not quantised; in a quantised base they are float16."""
    return STORED.get(precision, torch.float16)


def compute_dtype(
    requested: str, precision: str, device: torch.device, has_bfloat16: bool | None = None
) -> torch.dtype:
    """Return the dtype of the matrix products: the one requested, or for `auto` what the device multiplies fast.

    A CPU computes in float32 over whatever is stored: most emulate 16-bit products, at an eighth of the speed. A GPU
    computes in the 16 bits that are stored, and over a quantised base in bfloat16 where the card has that:
    `has_bfloat16`, or where that is None, what torch says of the present GPU.
    """
    if requested != "auto":
        return DTYPES[requested]
    if device.type == "cpu":
        return torch.float32
    if precision in STORED:
        return STORED[precision]
    if device.type == "cuda" and has_bfloat16 is None:
        has_bfloat16 = torch.cuda.is_bf16_supported()
    return torch.bfloat16 if device.type != "cuda" or has_bfloat16 else torch.float16
