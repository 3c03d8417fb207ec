"""Readers of the sources that a config's `data` section can name: one function a source."""

import random
from collections.abc import Mapping
from typing import Any

from frontier import errors
from frontier.errors import UserError
from frontier.model.data.checks import checked_example
from frontier.model.data.json_lines import read_lines
from frontier.model.data.split import VALIDATION_SHARE

# Arrow's types of text.
_TEXTS = ("string", "large_string", "string_view")


def read_source(data: Mapping[str, Any]) -> tuple[list[dict], list[dict] | None]:
    """Return the examples of a `data` section to train on, and those to validate on.

    Each is a dict of `question` and `answer`, in the order of the source. Validation is None where the source has no
    examples set apart for it. Raises UserError where the source cannot be had or a row of it cannot be used.
    """
    return _READERS[data["source"]](data)


def read_test(data: Mapping[str, Any]) -> list[dict]:
    """Return the examples of the test split that a `data` section names, in the order of the source."""
    if data["source"] == "hub":
        return _hub_split(data, data["test_split"])
    return read_lines(data["test_file"], data["question_column"], data["answer_column"])


def _read_files(data: Mapping[str, Any]) -> tuple[list[dict], list[dict] | None]:
    columns = data["question_column"], data["answer_column"]
    train = read_lines(data["train_file"], *columns)
    if not data.get("validation_file"):
        return train, None
    return train, read_lines(data["validation_file"], *columns)


def _read_hub(data: Mapping[str, Any]) -> tuple[list[dict], list[dict] | None]:
    train = _hub_split(data, data["train_split"])
    if not data.get("validation_split"):
        return train, None
    return train, _hub_split(data, data["validation_split"])


def _hub_split(data: Mapping[str, Any], name: str) -> list[dict]:
    """Return the examples of one split of a data set of the Hugging Face hub, of which two columns are read."""
    from datasets import load_dataset

    instead = "use data.source jsonl with a file you have, or reasoning-gym"
    with errors.fetching("data", f"{data['id']}, split {name}", instead):
        table = load_dataset(data["id"], data.get("name"), split=name, revision=data.get("revision"))
    columns = data["question_column"], data["answer_column"]
    for column in columns:
        _check_column(column, table.features, f"{data['id']}/{name}")
    rows = table.select_columns(list(dict.fromkeys(columns)))
    return [checked_example(row, *columns, f"{data['id']}/{name}:{i}") for i, row in enumerate(rows, start=1)]


def _check_column(column: str, features: dict, where: str) -> None:
    """Raise UserError where a data set has no such column, or one of anything but text."""
    if column not in features:
        raise UserError(f"{where}: has no column {column}; takes one of {', '.join(features)}")
    kind = getattr(features[column], "dtype", None)
    if kind not in _TEXTS:
        raise UserError(f"{where}: {column} takes a text, got a column of {kind or type(features[column]).__name__}")


def _read_reasoning_gym(data: Mapping[str, Any]) -> tuple[list[dict], list[dict]]:
    """Return generated GSM-Symbolic problems; a fifth of their templates is kept for validation alone."""
    from reasoning_gym import create_dataset

    # More problems than wanted, as repeated questions are left out and templates decide which split a problem is in.
    size = 10 * (data["train_examples"] + data["validation_examples"]) + 1000
    problems = create_dataset(data["dataset"], size=size, seed=data["seed"])
    templates = sorted(set(problems.task_indices))
    held_out = set(random.Random(data["seed"]).sample(templates, int(len(templates) * VALIDATION_SHARE)))
    train: list[dict] = []
    validation: list[dict] = []
    for problem, template in zip(problems, problems.task_indices, strict=True):
        # Some solutions end in `#### 8.0` where the answer is 8.
        steps = problem["metadata"]["answer_cot"].rsplit("####", 1)[0]
        rows = validation if template in held_out else train
        rows.append({"question": problem["question"], "answer": f"{steps}#### {problem['answer']}"})
    return train, validation


_READERS = {"jsonl": _read_files, "hub": _read_hub, "reasoning-gym": _read_reasoning_gym}
