"""What a value of a row must be to be a text, whatever the row's source is."""

import json
from collections import Counter
from decimal import Decimal

from frontier.errors import UserError
from frontier.strict_json import Number, numbers_read

# Characters of a value that a refusal shows.
_MOST_SHOWN = 80


def text_of(row: dict, column: str, where: str, counts: Counter, key: str = "") -> str:
    """Return a row's text in a column; a number is taken as the text that it is, and counted.

    `counts` has such numbers as "number COLUMN". `where` is the row's place in its source, such as file and line.
    Raises UserError naming it where the column is not there, or is no text, an empty one, or one that UTF-8 cannot
    write. `key` is the configuration's key that names the column; without one its name is fixed.
    """
    if column not in row:
        mend = f"data.{key} takes the name of one" if key else f"each row takes a {column} here"
        raise UserError(f"{where}: has no {column}, has {shown(list(row))}; {mend}")
    value = row[column]
    if is_number(value):
        counts[f"number {column}"] += 1
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: {column} takes a text that is not empty, got {shown(value)}; {_mend(column, value)}")
    return checked_text(value, column, where)


def checked_text(value: str, name: str, where: str) -> str:
    """Return a text that UTF-8 can write; UserError where it has half of a character."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        half = json.dumps(value[error.start])
        mend = "cut texts at characters, not at their halves"
        raise UserError(f"{where}: {name} takes a text, got one with {half}, half of a character; {mend}") from None
    return value


def is_number(value) -> bool:
    """Return whether a value is a number, and one that stands for itself (no NaN, which marks what is missing)."""
    return isinstance(value, Number | int | float | Decimal) and not isinstance(value, bool) and value == value


def is_missing(value) -> bool:
    """Return whether a value stands for none: null, or the NaN that pandas has in its place."""
    return value is None or (isinstance(value, float) and value != value)


def shown(value) -> str:
    """Return a value of any type as one short line: JSON where it can be, or else Python's own words for it."""
    line = json.dumps(numbers_read(value), default=repr)
    return line if len(line) <= _MOST_SHOWN else line[: _MOST_SHOWN - 3] + "..."


def _mend(column: str, value) -> str:
    """Return the line of pandas, or the key, that makes a text of a column with such values."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "data.format messages or sharegpt takes conversations, in a column of that name"
    if isinstance(value, str) or is_missing(value):
        return f'df = df[df["{column}"].fillna("").str.strip() != ""] leaves such rows out'
    if isinstance(value, dict):
        return (
            'df.to_json(path, orient="records", lines=True) writes a row a line, '
            f'df["{column}"].str["KEY"] takes one of its values'
        )
    if isinstance(value, list):
        return f'df = df.explode("{column}") makes a row of each, df["{column}"].str.join("\\n") one text of all'
    if isinstance(value, bytes):
        return f'df["{column}"] = df["{column}"].str.decode("utf-8") makes texts of them'
    return f'df["{column}"] = df["{column}"].astype(str) makes texts of them'
