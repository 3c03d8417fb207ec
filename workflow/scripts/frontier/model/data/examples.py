"""The examples of a study: read from their source, split, and counted."""

from collections.abc import Mapping
from typing import Any

from frontier.errors import UserError
from frontier.model.data.readers import read_source
from frontier.model.data.split import hold_out, questions, without_repeats
from frontier.model.data.truths import count_truths


def read_examples(data: Mapping[str, Any]) -> tuple[dict[str, list[dict]], dict[str, int]]:
    """Return the examples of a config's `data` section by split, `train` and `validation`, and counts.

    Each example is a dict of `question` and `answer`. The counts are of `duplicates_left_out` (a question that was met
    before, or a training question that stands in validation too), of `examples_not_taken` (more than the section asks
    for), and those of `count_truths` over the examples of both splits. The result depends on the data section alone.
    Raises UserError where a row cannot be used, or where there are fewer examples than wanted.
    """
    train_rows, validation_rows = read_source(data)
    if validation_rows is None:
        train_rows, validation_rows = hold_out(train_rows, data["validation_examples"])
    validation = without_repeats(validation_rows)
    train = without_repeats(train_rows, questions(validation))
    duplicates = len(train_rows) + len(validation_rows) - len(train) - len(validation)
    splits = {}
    for name, rows in (("train", train), ("validation", validation)):
        if not rows:
            raise UserError(
                f"data: no {name} example is left of {len(train_rows)} rows to train on and "
                f"{len(validation_rows)} to validate on; {duplicates} repeat a question"
            )
        splits[name] = _first(rows, data[f"{name}_examples"], name)
    used = splits["train"] + splits["validation"]
    not_taken = len(train) + len(validation) - len(used)
    return splits, {"duplicates_left_out": duplicates, "examples_not_taken": not_taken} | count_truths(used)


def _first(rows: list[dict], wanted: int | None, name: str) -> list[dict]:
    """Return the first `wanted` rows of a split, or all where that is None; too few raise UserError."""
    if wanted is not None and len(rows) < wanted:
        raise UserError(f"data.{name}_examples: got {wanted}, takes at most the {len(rows)} there are")
    return rows[:wanted]
