"""Rows of a data set of the hub, whose texts are what they were before datasets guessed at their types."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from frontier.errors import UserError

# Arrow's types of text, and of numbers, by the beginnings of their names.
_TEXTS = ("string", "large_string", "string_view")
_NUMBERS = ("int", "uint", "float", "double", "decimal")
# The type that datasets gives to a column in which texts and other values stand.
_JSON = "Json"
# Columns of texts alone, by their names in forms of rows.
_OF_TURNS = ("messages", "conversations", "conversation")


def hub_rows(table, columns: list[str], needed: Iterable[str], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the row of each row of a datasets.Dataset, in these columns of it.

    Raises UserError where one of the `needed` columns is not there, or is of neither texts nor numbers, unless it is of
    conversations.
    """
    for column in needed:
        if column not in table.features:
            raise UserError(f"{where}: has no column {column}; takes one of {', '.join(table.features)}")
        if column not in _OF_TURNS:
            _check_column(column, table.features[column], where)
    mixed = [column for column in columns if type(table.features[column]).__name__ == _JSON]
    # The numbers and texts of such a column are kept as they are written; decoding would make 7 of "007".
    raw = {column: _written(table, column) for column in mixed}
    plain = [column for column in columns if column not in mixed]
    rows: Iterable[dict] = table.select_columns(plain) if plain else ({} for _ in range(len(table)))
    for number, row in enumerate(rows, start=1):
        yield f"{where}:{number}", row | {column: _decoded(raw[column][number - 1]) for column in mixed}


def _check_column(column: str, feature, where: str) -> None:
    kind = getattr(feature, "dtype", None)
    name = type(feature).__name__
    is_text = kind in _TEXTS or (str(kind).startswith(_NUMBERS) and name == "Value") or name == _JSON
    if not is_text:
        raise UserError(
            f"{where}: {column} takes a text, got a column of {kind or name}; data.source file reads the data set's "
            "own files, whose texts stay what they are"
        )


def _written(table, column: str) -> list[str | None]:
    """Return a column as datasets stores it, with the rows that a filter or a shuffle has left, in their order."""
    return table.select_columns([column]).with_format("arrow")[:][column].to_pylist()


def _decoded(written: str | None) -> Any:
    """Return what a cell of such a column says: a text in quotes, a list, an object; anything else is its own text."""
    if written is None or not written.lstrip().startswith(('"', "[", "{")):
        return written
    try:
        return json.loads(written)
    except ValueError:
        return written
