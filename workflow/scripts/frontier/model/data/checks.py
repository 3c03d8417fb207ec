"""What a row of a source must have to be an example, whatever the source is."""

import json
import re

from frontier.errors import UserError

# GSM8K's mark of a worked answer's end, and the final answer after it.
_FINAL_ANSWER = re.compile(r"####\s*\S")


def checked_example(row, question_column: str, answer_column: str, where: str) -> dict[str, str]:
    """Return a row as an example: a dict of `question` and `answer`.

    `where` is the row's place in its source, such as file and line. Raises UserError naming it where the row is no
    object, or where one of the two columns is no text or an empty one.
    """
    if not isinstance(row, dict):
        kind = type(row).__name__
        raise UserError(f"{where}: takes an object with {question_column} and {answer_column}, got {kind}")
    for column in (question_column, answer_column):
        value = row.get(column)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{where}: {column} takes a text that is not empty, got {json.dumps(value)}")
    return {"question": row[question_column], "answer": row[answer_column]}


def has_final_answer(example: dict[str, str]) -> bool:
    """Return whether an example's answer ends in `####` and a final answer, by which accuracy judges."""
    return bool(_FINAL_ANSWER.search(example["answer"]))
