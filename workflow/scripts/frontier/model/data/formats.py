"""Forms of rows: which columns hold an example, and how it is read of them."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from frontier.data_types import Example
from frontier.errors import UserError
from frontier.model.data.checks import shown, text_of
from frontier.model.data.conversations import conversation_of

# The defaults of the keys that name the columns of question and answer.
QUESTION, ANSWER = "question", "answer"


class Form(NamedTuple):
    """A form of rows: its name (data.format), the columns that it needs, those that it may have, and how to read one.

    `read(row, where, counts)` returns the example of a row, or None where the row is left out.
    """

    name: str
    needed: tuple[str, ...]
    further: tuple[str, ...]
    read: Callable[[dict, str, Counter], Example | None]


def form_of(columns: list[str], data: Mapping[str, Any], where: str) -> Form:
    """Return the form of a table's rows, by its columns and the `data` section; UserError where it is in none.

    With data.format that form, else the first of which the columns are there; question_column and answer_column, where
    they are not at their defaults, say that it is question-answer. `where` is the place of the first row.
    """
    question, answer = data["question_column"], data["answer_column"]
    asked = data.get("format") or "auto"
    own = (question, answer) != (QUESTION, ANSWER)
    forms = [_question_answer(question, answer), *_CONVERSATIONS, _ALPACA, _PROMPT_COMPLETION, _TEXT]
    known = [form for form in forms if form.name == asked or (asked == "auto" and (not own or form is forms[0]))]
    found = next((form for form in known if set(form.needed) <= set(columns)), None)
    if found:
        return found
    if asked == "question-answer" or (asked == "auto" and (own or {question, answer} & set(columns))):
        # One of the two is there: the row itself says which is not.
        return forms[0]
    if asked == "auto":
        takes = "; ".join(dict.fromkeys(f"{' and '.join(form.needed)}" for form in forms))
        raise UserError(
            f"{where}: has {shown(columns)}, takes the columns of one form: {takes}; data.question_column and "
            "data.answer_column name others"
        )
    wanted = " or ".join(dict.fromkeys(" and ".join(form.needed) for form in known))
    raise UserError(
        f"{where}: has {shown(columns)}, takes {wanted} with data.format {asked}; df.rename renames columns"
    )


def other_forms(columns: list[str], form: Form) -> list[str]:
    """Return the columns of each further form of which a table has all, such as "prompt and completion"."""
    forms = [*_CONVERSATIONS, _ALPACA, _PROMPT_COMPLETION, _TEXT]
    there = [one for one in forms if set(one.needed) <= set(columns) and not set(one.needed) & set(form.needed)]
    return list(dict.fromkeys(" and ".join(one.needed) for one in there))


def read_rows(rows: Iterable[tuple[str, Any]], form: Form, counts: Counter) -> Iterable[tuple[str, dict, Example]]:
    """Yield the place, the row and the example of each row that is not left out; `counts` has all as "rows read"."""
    for where, row in rows:
        counts["rows read"] += 1
        check_row(row, where, " and ".join(form.needed))
        example = form.read(row, where, counts)
        if example is not None:
            yield where, row, example


def check_row(row: Any, where: str, wanted: str) -> None:
    """Raise UserError where a row is no object, and so has no columns."""
    if not isinstance(row, dict):
        raise UserError(
            f'{where}: takes an object with {wanted}, got {shown(row)}; df.to_json(path, orient="records", lines=True) '
            "writes a table so"
        )


def _question_answer(question: str, answer: str) -> Form:
    def read(row: dict, where: str, counts: Counter) -> Example:
        told = text_of(row, question, where, counts, "question_column")
        return {"question": told, "answer": text_of(row, answer, where, counts, "answer_column")}

    return Form("question-answer", (question, answer), (), read)


def _conversation(name: str, column: str) -> Form:
    return Form(
        name,
        (column,),
        ("tools", "functions", "system"),
        lambda row, where, counts: conversation_of(row, column, where, counts),
    )


def _read_alpaca(row: dict, where: str, counts: Counter) -> Example:
    """Return an example whose question is the instruction and, below an empty line, the input if there is one."""
    instruction = text_of(row, "instruction", where, counts)
    given = row.get("input")
    if given is not None and not (isinstance(given, str) and not given.strip()):
        instruction += "\n\n" + text_of(row, "input", where, counts)
    return {"question": instruction, "answer": text_of(row, "output", where, counts)}


def _read_completion(row: dict, where: str, counts: Counter) -> Example:
    """Return an example of a prompt and a completion; of lists of messages UserError, as they are one conversation."""
    if isinstance(row.get("prompt"), list) and isinstance(row.get("completion"), list):
        raise UserError(
            f'{where}: prompt and completion are lists of messages; df["messages"] = df["prompt"] + df["completion"] '
            "makes conversations of them (data.loss_turns: last)"
        )
    return {
        "question": text_of(row, "prompt", where, counts),
        "answer": text_of(row, "completion", where, counts),
    }


# What people call either form; messages of both are read alike.
_CONVERSATIONS = [
    *(_conversation(name, "messages") for name in ("messages", "sharegpt")),
    *(_conversation(name, column) for column in ("conversations", "conversation") for name in ("sharegpt", "messages")),
]
_ALPACA = Form("alpaca", ("instruction", "output"), ("input",), _read_alpaca)
_PROMPT_COMPLETION = Form("prompt-completion", ("prompt", "completion"), (), _read_completion)
_TEXT = Form("text", ("text",), (), lambda row, where, counts: {"text": text_of(row, "text", where, counts)})
# The names that data.format takes.
FORMATS = ("question-answer", "prompt-completion", "alpaca", "messages", "sharegpt", "text")
