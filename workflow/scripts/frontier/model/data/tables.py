"""The rows of a file that a user brings: JSON lines, a JSON array, CSV, parquet or Arrow, told by what is in it.

Texts stay what they are: "007", "1.50" and "2026-01-01" are no numbers and no dates, and a JSON number is the text of
it as it is written. So pandas and datasets, which guess at a column's type, read none of these here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
from pyarrow import parquet

from frontier import strict_json
from frontier.errors import UserError, one_line
from frontier.model.data.text_files import read_csv, read_json_array, read_json_lines, text_of_file

# What files begin with, by their formats' specifications. A stream of Arrow begins with a mark that its readers know.
_PARQUET, _ARROW, _ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
# Endings of names of files that pyarrow did not write as one of the above.
_TABLE_ENDINGS = (".csv", ".tsv")


class Table(NamedTuple):
    """A file's rows: where it names its columns, which (the first row's, where each has its own), and how to read it.

    `rows(wanted)` yields each row's place in the file (`file:line`) and what it is; of a row with columns at least
    those of `wanted` that it has. None wants all.
    """

    where: str
    columns: list[str]
    rows: Callable[[list[str] | None], Iterator[tuple[str, Any]]]


def open_table(path: str) -> Table:
    """Return a file's table; UserError where the file cannot be read, or is in none of the formats."""
    if strict_json.is_pointer(Path(path)):
        raise UserError(f"{path}: a pointer of Git LFS, not the file; run git lfs pull where it lies")
    with open(path, "rb") as file:
        head = file.read(len(_ARROW))
    if head.startswith(_PARQUET):
        with _whole(path, "parquet"):
            names = parquet.read_schema(path).names
        return Table(f"{path}:1", names, lambda wanted: _parquet_rows(path, _present(wanted, names)))
    if head.startswith((_ARROW, _ARROW_STREAM)):
        return _arrow_table(path)
    return _text_table(path)


def _text_table(path: str) -> Table:
    text = text_of_file(path)
    if Path(path).suffix.lower() in _TABLE_ENDINGS:
        header, rows = read_csv(path, text)
        return Table(f"{path}:1", header, lambda wanted: iter(rows))
    is_array = text.lstrip().startswith("[")

    def rows_read(wanted: list[str] | None) -> Iterator[tuple[str, Any]]:
        yield from read_json_array(path, text) if is_array else read_json_lines(path, text)

    where, first = next(rows_read(None), (f"{path}:1", {}))
    return Table(where, list(first) if isinstance(first, dict) else [], rows_read)


def _arrow_table(path: str) -> Table:
    with _whole(path, "Arrow"):
        names = _open_arrow(path, None).schema.names

    def rows(wanted: list[str] | None) -> Iterator[tuple[str, Any]]:
        kept = _present(wanted, names)
        included = None if kept is None else sorted(names.index(name) for name in kept)
        with _whole(path, "Arrow"):
            opened = _open_arrow(path, included)
            batches = (
                (opened.get_batch(index) for index in range(opened.num_record_batches))
                if hasattr(opened, "get_batch")
                else opened
            )
            yield from _numbered(path, batches)

    return Table(f"{path}:1", names, rows)


def _open_arrow(path: str, included: list[int] | None):
    """Return a reader of Arrow's file format or, as datasets writes it, of its stream format."""
    options = pyarrow.ipc.IpcReadOptions(included_fields=included)
    with open(path, "rb") as file:
        is_file = file.read(len(_ARROW)) == _ARROW
    open_one = pyarrow.ipc.open_file if is_file else pyarrow.ipc.open_stream
    return open_one(pyarrow.memory_map(path), options=options)


def _parquet_rows(path: str, wanted: list[str] | None) -> Iterator[tuple[str, Any]]:
    with _whole(path, "parquet"), parquet.ParquetFile(path) as opened:
        yield from _numbered(path, opened.iter_batches(columns=wanted))


def _numbered(path: str, batches) -> Iterator[tuple[str, Any]]:
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            number += 1
            yield f"{path}:{number}", row


def _present(wanted: list[str] | None, names: list[str]) -> list[str] | None:
    return None if wanted is None else [name for name in names if name in wanted]


@contextmanager
def _whole(path: str, kind: str):
    """Raise UserError where the block cannot read a file of Arrow's."""
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: is no whole file of {kind} ({one_line(error)}); write it anew, or copy it once more"
        ) from error
