"""What a row of a source must have to be an example, whatever the source is."""

import json

from frontier.errors import UserError

# Characters of a value that a refusal shows.
_MOST_SHOWN = 80


def checked_example(row, question_column: str, answer_column: str, where: str) -> dict[str, str]:
    """Return a row as an example: a dict of `question` and `answer`.

    `where` is the row's place in its source, such as file and line. Raises UserError naming it where the row is no
    object, or where one of the two columns is no text, an empty one, or one that UTF-8 cannot write.
    """
    if not isinstance(row, dict):
        kind = type(row).__name__
        raise UserError(f"{where}: takes an object with {question_column} and {answer_column}, got {kind}")
    for key, column in (("question_column", question_column), ("answer_column", answer_column)):
        if column not in row:
            raise UserError(f"{where}: has no {column}, has {_shown(list(row))}; data.{key} takes the name of one")
        value = row[column]
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{where}: {column} takes a text that is not empty, got {_shown(value)}")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            half = json.dumps(value[error.start])
            raise UserError(f"{where}: {column} takes a text, got one with {half}, half of a character") from None
    return {"question": row[question_column], "answer": row[answer_column]}


def _shown(value) -> str:
    """Return a value of any type as one short line: JSON where it can be, or else Python's own words for it."""
    line = json.dumps(value, default=repr)
    return line if len(line) <= _MOST_SHOWN else line[: _MOST_SHOWN - 3] + "..."
