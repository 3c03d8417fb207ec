"""Rows on their way from a source to a split: an example, and what decides on which side of the split it is."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from frontier.data_types import Example
from frontier.errors import UserError
from frontier.model.data.checks import is_missing, shown
from frontier.model.data.conversations import as_json


class Row(NamedTuple):
    """An example, with its values of the columns that group and that stratify; None without such a column.

    `where` is its place in the source: a file and a line, or a split and a row.
    """

    example: Example
    group: str | None = None
    stratum: str | None = None
    where: str = ""


def row_of(example: Example, values: Mapping[str, Any], data: Mapping[str, Any], where: str) -> Row:
    """Return a row with the values that the `data` section splits by; UserError where it lacks one of the columns."""
    found = []
    for key in ("group_column", "stratify_column"):
        column = data.get(key)
        if column and column not in values:
            raise UserError(
                f"{where}: has no {column}, has {shown(list(values))}; data.{key} takes a column that each row has"
            )
        if column and is_missing(values[column]):
            raise UserError(
                f'{where}: {column} takes a value, which data.{key} splits by, got none; df.dropna(subset=["{column}"])'
                " leaves such rows out"
            )
        found.append(as_json(values[column]) if column else None)
    group, stratum = found
    return Row(example, group, stratum, where)


def prompt_of(example: Example) -> str:
    """Return what an example asks, as one text: its question, a conversation up to an answer, or a whole text."""
    if "question" in example:
        return example["question"]
    if "text" in example:
        return example["text"]
    messages = example["messages"]
    first = next(place for place, message in enumerate(messages) if message["role"] == "assistant")
    return as_json([messages[:first], messages[0]["content"] if first == 0 else ""])


def in_form_of(other: Example, example: Example) -> Example:
    """Return an example in the form of another, so that the same template is put around both.

    A question and its answer may be a conversation of two turns. Raises UserError for what takes no such form.
    """
    if "messages" in other and "question" in example:
        turns = (("user", example["question"]), ("assistant", example["answer"]))
        return {"messages": [{"role": role, "content": text} for role, text in turns]}
    if ("messages" in other) != ("messages" in example) or ("text" in other) != ("text" in example):
        raise UserError(
            f"data: test rows have {shown(list(example))}, training rows {shown(list(other))}; takes both in one form"
        )
    return example


def words_of(example: Example) -> str:
    """Return the words of what an example asks, without what a conversation is written in."""
    if "messages" not in example:
        return prompt_of(example)
    told = [message["content"] for message in example["messages"] if message["role"] == "user"]
    return "\n".join(told or [example["messages"][0]["content"]])


def answer_of(example: Example) -> str:
    """Return the last answer of an example; an empty text where it has none, as a text that asks nothing."""
    if "answer" in example:
        return example["answer"]
    if "messages" in example and example["messages"][-1]["role"] == "assistant":
        return example["messages"][-1]["content"]
    return ""
