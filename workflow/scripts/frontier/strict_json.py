"""Read JSON that users hand over, a key that is there twice being an error; tell pointers of Git LFS from files."""

import json
from pathlib import Path
from typing import Any

# What a file begins with that Git LFS has left in place of the one it stands for, by its specification.
_POINTER = b"version https://git-lfs.github.com/spec/"


class Number(str):
    """A number of a JSON text as it is written there, since 1.50 is another text than 1.5."""


class KeyTwice(ValueError):
    """A key stands twice in one object of a JSON text: every reader takes another of the two values."""


class NotANumber(ValueError):
    """NaN stands where a number should."""


def is_pointer(path: Path) -> bool:
    """Return whether a file is a pointer of Git LFS in place of the file itself."""
    with open(path, "rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def parse(text: str | bytes, takes_nan: bool = True):
    """Return what a JSON text says.

    Raises KeyTwice, or NotANumber where NaN is not taken, or another ValueError where the text is no JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=float if takes_nan else _constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_value(text: str, start: int) -> tuple[Any, int]:
    """Return the value that begins at a place of a JSON text, and the place behind it; each number is a Number.

    Raises as `parse` does.
    """
    try:
        return _AS_WRITTEN.raw_decode(text, start)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def numbers_read(value):
    """Return a value in which each Number is the number that it says."""
    if isinstance(value, Number):
        return json.loads(value)
    if isinstance(value, dict):
        return {key: numbers_read(item) for key, item in value.items()}
    return [numbers_read(item) for item in value] if isinstance(value, list) else value


def _object(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise KeyTwice(f"has {json.dumps(next(name for name in names if names.count(name) > 1))} twice")
    return found


def _constant(name: str) -> float:
    if name == "NaN":
        raise NotANumber("has NaN in place of a number")
    # Some models bound a range by an infinity.
    return float(name)


def _as_written(name: str) -> float | Number:
    """Return NaN as what is missing, and an infinity as it is written."""
    return float(name) if name == "NaN" else Number(name)


_AS_WRITTEN = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=_as_written
)
