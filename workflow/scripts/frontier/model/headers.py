"""The headers of safetensors files: which tensors a file has, read without its weights and held against its size.

The format: eight bytes that count the header's, the header in JSON, the tensors' bytes
(https://github.com/huggingface/safetensors, "Format").
"""

import math
import os
from pathlib import Path
from typing import NamedTuple

from frontier import strict_json
from frontier.errors import UserError
from frontier.model.files import INDEX, and_more, is_pointer, pointer_line, weight_files, weight_map

# Bytes of the count that a file begins with.
_COUNT = 8
# Bytes; safetensors refuses a longer header too.
_MOST_HEADER = 100_000_000
# Bytes of a number, by the names of the dtypes that are taken; those of others are not counted here.
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


class Tensor(NamedTuple):
    """A tensor of a file, as its header has it: `dtype` by safetensors' name, say BF16.

    `size` is in bytes, `start` the place of its first byte in the file.
    """

    dtype: str
    shape: tuple[int, ...]
    size: int
    start: int


def read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """Return the tensors of all weight files of the model `name`, by their names.

    Raises UserError where a file is not whole, two files have the same tensor, or the index names one that is nowhere.
    """
    tensors: dict[str, Tensor] = {}
    paths = weight_files(folder)
    for path in paths:
        found = read_header(path, name)
        twice = sorted(found.keys() & tensors.keys())
        if twice:
            raise UserError(f"model: {name}: {path.name} and another file both have {and_more(twice)}")
        tensors |= found
    if (folder / INDEX).exists() and paths[0].name in (files := weight_map(folder / INDEX, name)).values():
        absent = sorted(files.keys() - tensors.keys())
        if absent:
            raise UserError(f"model: {name}: no file has {and_more(absent)}, which {INDEX} names")
    return tensors


def read_header(path: Path, name: str) -> dict[str, Tensor]:
    """Return the tensors of one file of the model `name`; UserError where the file is not whole."""
    if is_pointer(path):
        raise UserError(pointer_line(path, name))
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(_COUNT), "little")
        if size < _COUNT or not 0 < length <= min(size - _COUNT, _MOST_HEADER):
            raise UserError(f"model: {name}: {path.name} is no safetensors file, or cut short within its header")
        text = file.read(length)
    try:
        entries = strict_json.parse(text)
        entries.pop("__metadata__", None)
        spans = {key: (entry["data_offsets"][0], entry["data_offsets"][1]) for key, entry in entries.items()}
        tensors = {
            key: Tensor(str(entry["dtype"]), tuple(map(int, entry["shape"])), stop - start, _COUNT + length + start)
            for (key, entry), (start, stop) in zip(entries.items(), spans.values(), strict=True)
        }
        odd = next((key for key, tensor in tensors.items() if not _is_sound(tensor)), None)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise UserError(f"model: {name}: the header of {path.name} is damaged; fetch the file again") from None
    if odd is not None:
        raise UserError(f"model: {name}: the header of {path.name} is damaged at {odd}; fetch the file again")
    _check_spans(path, name, spans, size - _COUNT - length)
    return tensors


def elements(tensors: dict[str, Tensor]) -> int:
    """Return how many numbers the tensors have."""
    return sum(math.prod(tensor.shape) for tensor in tensors.values())


def _is_sound(tensor: Tensor) -> bool:
    """Return whether a header's words on one tensor go together: its dtype, its shape, its bytes."""
    if not tensor.dtype or any(size < 0 for size in tensor.shape):
        return False
    return tensor.dtype not in _BYTES or tensor.size == math.prod(tensor.shape) * _BYTES[tensor.dtype]


def _check_spans(path: Path, name: str, spans: dict[str, tuple[int, int]], there: int) -> None:
    """Raise UserError where tensors overlap, leave bytes out, or need other than the bytes that are `there`."""
    end = 0
    for key, (start, stop) in sorted(spans.items(), key=lambda item: item[1]):
        if start != end or stop < start:
            raise UserError(f"model: {name}: the header of {path.name} is damaged at {key}; fetch the file again")
        end = stop
    if end != there:
        what = "is cut short" if end > there else "is longer than its header says"
        raise UserError(
            f"model: {name}: {path.name} {what}: {there:,} bytes of weights for {end:,}; fetch the file again"
        )
