"""Readers of the sources that a config's `data` section can name: one function a source."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from frontier import errors
from frontier.data_types import Example
from frontier.errors import UserError
from frontier.model.data.conversations import as_json
from frontier.model.data.files import example_files
from frontier.model.data.formats import ANSWER, QUESTION, Form, check_row, form_of, other_forms, read_rows
from frontier.model.data.hub_columns import hub_rows
from frontier.model.data.rows import Row, row_of
from frontier.model.data.split import VALIDATION_SHARE
from frontier.model.data.tables import open_table

# The keys of columns by whose values rows are split.
_BY_COLUMN = ("group_column", "stratify_column")


def read_source(data: Mapping[str, Any], counts: Counter) -> tuple[list[Row], list[Row] | None]:
    """Return the rows of a `data` section to train on, and those to validate on, in the order of the source.

    Validation is None where the source has no rows set apart for it. `counts` is told what rows were left out, and of
    what was read otherwise than it stands there. Raises UserError where the source cannot be had or a row of it cannot
    be used.
    """
    return _READERS[data["source"]](data, counts)


def read_test(data: Mapping[str, Any], counts: Counter) -> list[Row]:
    """Return the rows of the test split that a `data` section names, in the order of the source."""
    plain = {key: value for key, value in data.items() if key not in _BY_COLUMN}
    return _hub_split(plain, data["test_split"], counts) if data["source"] == "hub" else _files(plain, "test", counts)


def place_in_source(example: Example, data: Mapping[str, Any]) -> str | None:
    """Return where an example of a `data` section stands in its source, which is read again; None where it is not."""
    train, validation = read_source(data, Counter())
    wanted = as_json(example)
    return next((row.where for row in [*train, *(validation or [])] if as_json(row.example) == wanted), None)


def _read_files(data: Mapping[str, Any], counts: Counter) -> tuple[list[Row], list[Row] | None]:
    train = _files(data, "train", counts)
    return train, _files(data, "validation", counts) if data.get("validation_file") else None


def _files(data: Mapping[str, Any], split: str, counts: Counter) -> list[Row]:
    """Return the rows of a split's file, or of all files of its folder, of which only columns that are used are read.

    All are read in the form of the first file that has rows. Raises UserError where none has.
    """
    rows: list[Row] = []
    form: Form | None = None
    named, before = data[f"{split}_file"], counts["rows read"]
    for path in example_files(named):
        table = open_table(path)
        first = next(iter(table.rows(table.columns[:1] or None)), None)
        if first is None:
            continue
        check_row(first[1], table.where, "the columns of a form, such as question and answer")
        form = form or form_of(table.columns, data, table.where)
        _tell_of_columns(table.columns, form, data, counts)
        wanted = [*form.needed, *form.further, *_split_columns(data)]
        rows += _rows(table.rows(wanted), form, data, counts)
        counts[f"form {form.name}"] += 1
    if counts["rows read"] == before:
        raise UserError(f"{named}: has no rows; data.{split}_file takes a file, or a folder of files, of examples")
    return rows


def _rows(placed: Iterable[tuple[str, Any]], form: Form, data: Mapping[str, Any], counts: Counter) -> list[Row]:
    read = read_rows(placed, form, counts)
    return [row_of(example, row, data, where) for where, row, example in read]


def _split_columns(data: Mapping[str, Any]) -> list[str]:
    return [data[key] for key in _BY_COLUMN if data.get(key)]


def _tell_of_columns(columns: list[str], form: Form, data: Mapping[str, Any], counts: Counter) -> None:
    """Count forms that the columns are of too, where nobody chose one, and a question's column that is left out."""
    if form.name == "question-answer" and data["question_column"] == "instruction" and "input" in columns:
        counts["input not read"] += 1
    is_chosen = data.get("format", "auto") != "auto" or (data["question_column"], data["answer_column"]) != (
        QUESTION,
        ANSWER,
    )
    for name in [] if is_chosen else other_forms(columns, form):
        counts[f"other {name}"] += 1


def _read_hub(data: Mapping[str, Any], counts: Counter) -> tuple[list[Row], list[Row] | None]:
    train = _hub_split(data, data["train_split"], counts)
    return train, _hub_split(data, data["validation_split"], counts) if data.get("validation_split") else None


def _hub_split(data: Mapping[str, Any], name: str, counts: Counter) -> list[Row]:
    """Return the rows of one split of a data set of the Hugging Face hub, of which only used columns are read."""
    from datasets import load_dataset

    instead = "use data.source file with a file you have, or reasoning-gym"
    with errors.fetching("data", f"{data['id']}, split {name}", instead):
        table = load_dataset(data["id"], data.get("name"), split=name, revision=data.get("revision"))
    where = f"{data['id']}/{name}"
    if not len(table):
        raise UserError(f"{where}: has no rows; takes a split that has examples")
    form = form_of([*table.features], data, where)
    _tell_of_columns([*table.features], form, data, counts)
    wanted = [one for one in (*form.needed, *form.further, *_split_columns(data)) if one in table.features]
    counts[f"form {form.name}"] += 1
    return _rows(hub_rows(table, list(dict.fromkeys(wanted)), form.needed, where), form, data, counts)


def _read_reasoning_gym(data: Mapping[str, Any], counts: Counter) -> tuple[list[Row], list[Row]]:
    """Return generated GSM-Symbolic problems; a fifth of their templates is kept for validation alone."""
    from reasoning_gym import create_dataset

    # More problems than wanted, as repeated questions are left out and templates decide which split a problem is in.
    size = 10 * (data["train_examples"] + data["validation_examples"]) + 1000
    problems = create_dataset(data["dataset"], size=size, seed=data["seed"])
    templates = sorted(set(problems.task_indices))
    held_out = set(random.Random(data["seed"]).sample(templates, int(len(templates) * VALIDATION_SHARE)))
    train: list[Row] = []
    validation: list[Row] = []
    for number, (problem, template) in enumerate(zip(problems, problems.task_indices, strict=True)):
        # Some solutions end in `#### 8.0` where the answer is 8.
        steps = problem["metadata"]["answer_cot"].rsplit("####", 1)[0]
        rows = validation if template in held_out else train
        example: Example = {"question": problem["question"], "answer": f"{steps}#### {problem['answer']}"}
        rows.append(Row(example, where=f"{data['dataset']}:{number}"))
    counts["form question-answer"] += 1
    return train, validation


_READERS = {"jsonl": _read_files, "file": _read_files, "hub": _read_hub, "reasoning-gym": _read_reasoning_gym}
