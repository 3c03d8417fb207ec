"""Hold records and tables against their types: which keys are unknown, missing, or of another kind."""

import csv
import types
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, is_typeddict

from frontier.results.records_page import keys_of


def problems(value, kind, place: str = "") -> list[str]:
    """Return a line for each place where a JSON value is not of a type, named by its path of keys."""
    origin, parts = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        return _of_record(value, kind, place)
    if origin in (Union, types.UnionType):
        # A record is held against records: one line on null would hide all that is wrong in it.
        fitting = [part for part in parts if is_typeddict(part) == isinstance(value, dict)] or parts
        return min((problems(value, part, place) for part in fitting), key=len)
    if origin is list and isinstance(value, list):
        return [line for i, one in enumerate(value) for line in problems(one, parts[0], f"{place}[{i}]")]
    if origin is dict and isinstance(value, dict):
        return [line for key, one in value.items() for line in problems(one, parts[1], f"{place}.{key}")]
    if origin is Literal:
        return [] if value in parts else [f"{place}: takes one of {parts}, got {value!r}"]
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return [] if value in [*kind] else [f"{place}: takes one of {[*map(str, kind)]}, got {value!r}"]
    return [] if kind is Any or _is_a(value, kind) else [f"{place}: takes {kind}, got {value!r}"]


def problems_of_table(path: Path, kind) -> list[str]:
    """Return `problems` of a CSV file's header and rows."""
    with open(path, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    known = {key.name: key for key in keys_of(kind)}
    found = [f"{name}: unknown column" for name in header if name not in known]
    found += [f"{name}: missing" for name, key in known.items() if key.required and name not in header]
    if not found and header != [name for name in known if name in header]:
        found.append("the columns are in another order")
    for number, row in enumerate(rows, start=1):
        cells = [(name, text) for name, text in zip(header, row, strict=True) if name in known]
        found += [line for name, text in cells for line in _of_cell(text, known[name].kind, f"{number}.{name}")]
    return found


def _of_record(value, kind, place: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{place}: takes {kind.__name__}, got {value!r}"]
    known = {key.name: key for key in keys_of(kind)}
    prefix = f"{place}." if place else ""
    found = [f"{prefix}{name}: unknown key" for name in value if name not in known]
    found += [f"{prefix}{name}: missing" for name, key in known.items() if key.required and name not in value]
    for name in value:
        if name in known:
            found += problems(value[name], known[name].kind, f"{prefix}{name}")
    return found


def _of_cell(text: str, kind, place: str) -> list[str]:
    """Return `problems` of a cell, read as whichever of its type's kinds it can be."""
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return min((problems(_read(text, one), one, place) for one in kinds), key=len)


def _read(text: str, kind):
    """Return a cell's text as a value of a kind; as it is where it cannot be one."""
    if kind is type(None):
        return text or None
    if kind is bool:
        return {"True": True, "False": False}.get(text, text)
    try:
        return kind(text) if kind in (int, float) else text
    except ValueError:
        return text


def _is_a(value, kind) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else get_origin(kind) or kind)
