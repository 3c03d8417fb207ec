"""Frozen base models: converted to a precision once, loaded at it, and their weights' size."""

import importlib.metadata
import os
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from frontier import records
from frontier.material_types import BaseRecord, ModelRecord
from frontier.model import cache
from frontier.model.cache import cached
from frontier.model.dtypes import FOUR_BIT, QUANTIZED, STORED, stored_dtype
from frontier.model.files import weight_files
from frontier.model.four_bits import four_bit_share
from frontier.model.headers import elements, read_header
from frontier.model.loading import load_whole, refuse_infinite
from frontier.model.packing import ATTENTION
from frontier.model.stamps import refuse_changed
from frontier.units import GIB

# Bytes of a quantised base that are in the host's memory at once while it is written.
_SAVED_BYTES = 2**29


def convert(
    record: ModelRecord, precision: str, device: torch.device, read_directly: Sequence[str] = ()
) -> dict[str, Any]:
    """Convert a fetched model, by its record, to what `load` needs for `precision`.

    Returns the base's record but for its phases. A 16- or 32-bit base is the model's own folder, which is cast while it
    is loaded. A quantised base is written to the cache once, so that no run quantises again. Its record has the
    settings and the version of the quantiser as `quantiser`, and its folder is named by them, so that another quantiser
    makes another base; one of 4 bits says how much of it is in 4 bits. Layers with the names `read_directly` are not
    quantised. Raises UserError where the model's files are no longer those that were fetched.
    """
    refuse_changed(record)
    base: dict[str, Any] = {"precision": precision, "digest": record["digest"]}
    if precision not in QUANTIZED:
        return base | {key: record[key] for key in ("folder", "files", "stamps")}
    how = quantization(precision, read_directly)
    quantiser = how.to_dict() | {"bitsandbytes": importlib.metadata.version("bitsandbytes")}
    name = f"bases/{record['digest'][:16]}-{precision}-{records.digest(quantiser)[:8]}"
    folder = cached(name, lambda into: _quantize(cache.CACHE / record["folder"], how, device, into))
    base |= {"folder": folder, "quantiser": quantiser}
    if precision in FOUR_BIT:
        base["four_bit_share"] = four_bit_share(cache.CACHE / folder, cache.CACHE / record["folder"])
    return base


def load(base: BaseRecord, device: torch.device, attention: str = ATTENTION):
    """Return the base model of a record of `convert`, frozen, on `device`.

    `attention` is the name that transformers knows it by: that of packed rows, or "own" for what the model comes with.

    Raises UserError where its files are no longer those that were fetched, or a weight is not finite at its precision.
    """
    refuse_changed(base)
    dtype = stored_dtype(base["precision"])
    # A quantised weight is many small tensors: threads would wait for each other, and scatter them over a card. On a
    # CPU a memory limit may leave no room for threads.
    in_order = base["precision"] in QUANTIZED or device.type == "cpu"
    with _loading_in_order() if in_order else nullcontext():
        model, _ = load_whole(cache.CACHE / base["folder"], base["folder"], dtype=dtype, device_map={"": device})
    # A family whose classes are chosen by the attention's name knows none of another's.
    if attention != "own":
        model.set_attn_implementation(attention)
    refuse_infinite(model, base["folder"], base["precision"])
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


def weights_gib(base: BaseRecord) -> float:
    """Return how many GiB a base's weights take in memory at its precision, by its files' headers and sizes alone."""
    total = 0
    for path in weight_files(cache.CACHE / base["folder"]):
        if base["precision"] in QUANTIZED:
            total += path.stat().st_size
        else:
            total += elements(read_header(path, base["folder"])) * STORED[base["precision"]].itemsize
    return total / GIB


def quantization(precision: str, read_directly: Sequence[str] = ()) -> BitsAndBytesConfig:
    """Return the settings of bitsandbytes for a quantised precision; layers with the names `read_directly` stay."""
    # Named modules take the place of those that transformers leaves by itself, which is the head.
    skipped = ["lm_head", *read_directly] if read_directly else None
    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        llm_int8_skip_modules=skipped,
        bnb_4bit_quant_type=precision,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )


def _quantize(folder: Path, how: BitsAndBytesConfig, device: torch.device, into: Path) -> None:
    """Load a model quantised on `device` and write it to the folder `into`."""
    model, _ = load_whole(folder, str(folder), dtype=torch.float16, quantization_config=how, device_map={"": device})
    model.save_pretrained(into, max_shard_size=_SAVED_BYTES)
