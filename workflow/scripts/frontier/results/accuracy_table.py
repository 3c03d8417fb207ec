"""Gather every run's accuracy into one table: results/accuracy.csv."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from frontier import records
from frontier.record_types import AccuracyRecord
from frontier.results import columns


def gather_accuracy(job: dict) -> None:
    """Write results/accuracy.csv: one row a base model and one a run."""
    inputs = job["input"]
    found = [records.read_json(path) for path in [*inputs["bases"], *inputs["runs"]]]
    table = pd.DataFrame([_row(record) for record in found])
    table = table.astype(dict.fromkeys(columns.ACCURACY_COUNTS, "Int64"))
    records.write_text(job["output"]["table"], table.to_csv(index=False))
    columns.say_table(table.drop(columns="reason"), digits=3)


def _row(record: AccuracyRecord) -> dict[str, Any]:
    """Return a record as a row; a base model's has its precision as name, and no rank or seed."""
    request: Mapping[str, Any] = record["request"]
    outcome: Mapping[str, Any] = record["outcome"]
    asked = {"run": request["name"], **{key: request[key] for key in columns.ACCURACY_ASKED}}
    return asked | {key: outcome.get(key) for key in columns.ACCURACY_FOUND}
