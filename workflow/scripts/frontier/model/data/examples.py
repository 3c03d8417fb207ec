"""The examples of a study: read from their source, split, and counted."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from frontier.data_types import Example
from frontier.errors import UserError
from frontier.model.data import told
from frontier.model.data.conversations import as_json
from frontier.model.data.near_repeats import near_repeats
from frontier.model.data.readers import read_source
from frontier.model.data.rows import Row
from frontier.model.data.split import hold_out, prompts, shuffled, without_prompts, without_repeats
from frontier.model.data.truths import count_truths


def read_examples(data: Mapping[str, Any]) -> tuple[dict[str, list[Example]], dict[str, Any]]:
    """Return the examples of a config's `data` section by split, `train` and `validation`, and their counts.

    Each whole example is there once, and what asks the same is on one side of the split. The result depends on the data
    section alone. Raises UserError where a row cannot be used, or where there are fewer examples than wanted.
    """
    seen: Counter = Counter()
    train, validation, found = _sides(data, *read_source(data, seen), seen)
    rows = {"train": train, "validation": validation}
    for name, side in rows.items():
        if not side:
            raise UserError(f"data: no {name} example is left of {seen['rows read']} rows: {told.reasons(seen, found)}")
    splits = {name: _first(side, data[f"{name}_examples"], name) for name, side in rows.items()}
    found["near_repeats"] = sum(near_repeats(splits["validation"], splits["train"]))
    used = splits["train"] + splits["validation"]
    not_taken = len(train) + len(validation) - len(used)
    return splits, {**told.counts_of(seen, found, not_taken), **count_truths(used)}


def _sides(
    data: Mapping[str, Any], train_rows: list[Row], validation_rows: list[Row] | None, seen: Counter
) -> tuple[list[Row], list[Row], Counter]:
    """Return the rows to train on, those to validate on, and counts of what was left out between them.

    `seen` is what readers counted. Raises UserError where too few rows are left to hold some out.
    """
    found: Counter = Counter()
    if validation_rows is None:
        rows = without_repeats(train_rows)
        found["duplicates_left_out"] = len(train_rows) - len(rows)
        if len(rows) < 2:
            raise UserError(
                f"data: takes two examples at least where some are held out for validation; {len(rows)} left of "
                f"{seen['rows read'] or len(train_rows)} rows: {told.reasons(seen, found)}"
            )
        train, validation = hold_out(rows, data["validation_examples"], data)
        found["strata_not_validated"] = len({row.stratum for row in rows} - {row.stratum for row in validation})
    else:
        validation = without_repeats(validation_rows)
        apart = without_repeats(train_rows, {as_json(row.example) for row in validation})
        found["duplicates_left_out"] = len(train_rows) + len(validation_rows) - len(apart) - len(validation)
        train = without_prompts(apart, prompts(validation))
        found["prompts_in_validation"] = len(apart) - len(train)
        train, validation = (
            shuffled(rows, data) if (data[f"{name}_examples"] or len(rows)) < len(rows) else rows
            for name, rows in (("train", train), ("validation", validation))
        )
    if data.get("near_repeats") == "leave-out":
        near = near_repeats([row.example for row in validation], [row.example for row in train])
        found["near_repeats_left_out"] = sum(near)
        validation = [row for row, is_near in zip(validation, near, strict=True) if not is_near]
    return train, validation, found


def _first(rows: list[Row], wanted: int | None, name: str) -> list[Example]:
    """Return the first `wanted` examples of a split, or all where that is None; too few raise UserError."""
    if wanted is not None and len(rows) < wanted:
        raise UserError(f"data.{name}_examples: got {wanted}, takes at most the {len(rows)} there are")
    return [row.example for row in rows[:wanted]]
