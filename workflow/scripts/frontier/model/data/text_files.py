"""The rows of files of text, JSON lines, a JSON array or CSV, each with its place: `file:line`."""

import csv
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from frontier import strict_json
from frontier.errors import UserError, one_line

# What parts the cells of a CSV: that which is most often in its head.
_SEPARATORS = (",", ";", "\t")
# What packed files begin with, by their formats' specifications, and what makes a text of them.
_PACKED = {
    b"\x1f\x8b": "gzip; gunzip unpacks it",
    b"\xfd7zXZ": "xz; unxz unpacks it",
    b"BZh": "bzip2; bunzip2 unpacks it",
    b"\x28\xb5\x2f\xfd": "zstandard; unzstd unpacks it",
    b"PK\x03\x04": "zip, as workbooks are; unzip unpacks it, pd.read_excel(path).to_csv(name) writes a sheet as CSV",
}
_LINES = (
    'takes one object a line, such as {"text": "..."} of a plain text, an array of objects, CSV (named .csv), parquet '
    "or Arrow"
)
_SPACE = " \t\n\r"


def text_of_file(path: str) -> str:
    """Return a file's text; UserError where it is packed, or naming the line where it is not UTF-8."""
    data = Path(path).read_bytes()
    if packed := next((how for first, how in _PACKED.items() if data.startswith(first)), None):
        raise UserError(f"{path}:1: packed by {packed}")
    try:
        # Windows' editors begin a file of UTF-8 with a mark.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        is_utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        if b"\0" in data and not is_utf16:
            raise UserError(f"{path}:{line}: no text and none of the files that are read; {_LINES}") from None
        encoding = "utf-16" if is_utf16 else "cp1252"
        raise UserError(
            f"{path}:{line}: not UTF-8; save it as UTF-8, say by Path(path).write_text(Path(path).read_text"
            f'("{encoding}"), "utf-8")'
        ) from None


def read_json_lines(path: str, text: str) -> Iterator[tuple[str, Any]]:
    """Yield the place and the value of each line of JSON that is not blank."""
    # Not by str.splitlines, to which some characters within a text end a line.
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        with _json(where):
            row, end = strict_json.parse_value(line, len(line) - len(line.lstrip()))
            if line[end:].strip():
                raise json.JSONDecodeError("Extra data", line, end)
        yield where, row


def read_json_array(path: str, text: str) -> Iterator[tuple[str, Any]]:
    """Yield the place and the value of each element of a JSON array."""
    place, line, counted = text.index("[") + 1, 1, 0
    while True:
        place = _behind_space(text, place)
        line, counted = line + text.count("\n", counted, place), place
        where = f"{path}:{line}"
        if text[place : place + 1] == "]":
            break
        with _json(where):
            row, place = strict_json.parse_value(text, place)
        yield where, row
        place = _behind_space(text, place)
        if text[place : place + 1] == ",":
            place += 1
        elif text[place : place + 1] != "]":
            line += text.count("\n", counted, place)
            raise UserError(f"{path}:{line}: not JSON (the array goes on without a comma, or ends without ]); {_LINES}")
    if text[_behind_space(text, place + 1) :]:
        raise UserError(f"{where}: not JSON (text behind the array's end); {_LINES}")


def read_csv(path: str, text: str) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    """Return the names in the head of a CSV, and the place and the cells of each row, all of them texts."""
    head = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=head.count)
    # Python's own limit is 128 KiB a cell; sys.maxsize does not fit everywhere.
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names: list[str] = []
    rows = []
    begun = 1
    try:
        for cells in lines:
            where, begun = f"{path}:{begun}", lines.line_num + 1
            if not names:
                names = cells
                _check_head(names, where)
            elif cells:
                if len(cells) != len(names):
                    raise UserError(
                        f"{where}: has {len(cells)} cells, takes {len(names)} as the head has; write it by "
                        "df.to_csv(path, index=False), which puts quotes around commas and line breaks"
                    )
                rows.append((where, dict(zip(names, cells, strict=True))))
    except csv.Error as error:
        raise UserError(
            f"{path}:{begun}: not CSV ({one_line(error)}); write it by df.to_csv(path, index=False)"
        ) from None
    return names, rows


def _check_head(names: list[str], where: str) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{where}: has the column {json.dumps(twice)} twice; takes a head of different names")


def _behind_space(text: str, place: int) -> int:
    while text[place : place + 1] and text[place] in _SPACE:
        place += 1
    return place


@contextmanager
def _json(where: str):
    """Raise UserError naming the place where the block meets no JSON."""
    try:
        yield
    except strict_json.KeyTwice as error:
        raise UserError(f"{where}: {error}; takes each key once") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error.msg}, column {error.colno}); {_LINES}") from None
    except ValueError as error:
        raise UserError(f"{where}: not JSON that is read here ({one_line(error)})") from None
