"""Frozen base models: converted once to a precision, and loaded at it."""

import importlib.metadata
import math
import os
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from frontier import records
from frontier.model import cache
from frontier.model.cache import cached, refuse_changed
from frontier.model.files import weight_files
from frontier.model.packing import ATTENTION

DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16")}
STORED = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
QUANTIZED = ("nf4", "fp4", "int8")
# A quantised base's part that is in the host's memory while it is written.
_SAVED_BYTES = 2**29


def convert(record: dict, precision: str, device: torch.device) -> dict:
    """Convert a fetched model to what `load` needs for `precision`, once; the record of the result.

    16- and 32-bit bases are the model's own folder, cast while loading. A quantised base is written to the cache, so
    that no run quantises again; under a name of its own for each way of quantising, which the record has as
    `quantiser`. Raises UserError where the model's files are no longer those that were fetched.
    """
    refuse_changed(record)
    base = {"precision": precision, "digest": record["digest"]}
    if precision not in QUANTIZED:
        return base | {key: record[key] for key in ("folder", "files", "stamps")}
    how = quantization(precision)
    quantiser = how.to_dict() | {"bitsandbytes": importlib.metadata.version("bitsandbytes")}
    name = f"bases/{record['digest'][:16]}-{precision}-{records.digest(quantiser)[:8]}"
    folder = cached(name, lambda into: _quantize(cache.CACHE / record["folder"], how, device, into))
    return base | {"folder": folder, "quantiser": quantiser}


def load(base: dict, device: torch.device):
    """The base model of a `prepare_base` record on `device`, frozen, its attention the packed one.

    Raises UserError where its files are no longer those that were fetched.
    """
    refuse_changed(base)
    dtype = STORED.get(base["precision"], torch.float16)
    # A quantised weight is many small tensors: threads would wait for each other, and scatter them over a card. On a
    # CPU a memory limit may leave no room for threads.
    in_order = base["precision"] in QUANTIZED or device.type == "cpu"
    with _loading_in_order() if in_order else nullcontext():
        model = AutoModelForCausalLM.from_pretrained(
            cache.CACHE / base["folder"], dtype=dtype, device_map={"": device}, attn_implementation=ATTENTION
        )
    return model.requires_grad_(False)


@contextmanager
def _loading_in_order():
    """Have transformers load one tensor after the other while the block runs: its threads ask a variable."""
    name = "HF_DEACTIVATE_ASYNC_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def weights_gib(base: dict) -> float:
    """What the base's weights take in memory at its precision, read from the headers of its files alone."""
    total = 0
    for path in weight_files(cache.CACHE / base["folder"]):
        if base["precision"] in QUANTIZED:
            total += path.stat().st_size
        else:
            with safe_open(path, "pt") as file:
                names = file.keys()
                count = sum(math.prod(file.get_slice(name).get_shape()) for name in names)
            total += count * STORED[base["precision"]].itemsize
    return total / 2**30


def compute_dtype(
    requested: str, precision: str, device: torch.device, has_bfloat16: bool | None = None
) -> torch.dtype:
    """The dtype of the matrix products: as asked for, or for `auto` what the device multiplies fast.

    A CPU computes in float32 over whatever is stored: 16-bit products are emulated on most, at an eighth of the speed.
    A GPU computes in the 16 bits that are stored; over a quantised base in bfloat16 where it has that, which is asked
    of the present GPU unless `has_bfloat16` says it.
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


def quantization(precision: str) -> BitsAndBytesConfig:
    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=precision,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )


def _quantize(folder: Path, how: BitsAndBytesConfig, device: torch.device, into: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float16, quantization_config=how, device_map={"": device}
    )
    model.save_pretrained(into, max_shard_size=_SAVED_BYTES)
