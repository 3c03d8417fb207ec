"""Every run's accuracy in one table: results/accuracy.csv."""

import pandas as pd

from frontier import records
from frontier.outcomes import ACCURACY


def gather_accuracy(job: dict) -> None:
    """Write results/accuracy.csv: one row a base model and one a run."""
    inputs = job["input"]
    found = [records.read_json(path) for path in [*inputs["bases"], *inputs["runs"]]]
    table = pd.DataFrame([_row(record) for record in found])
    table = table.astype(dict.fromkeys(("rank", "seed", "examples", "unfinished"), "Int64"))
    records.write_text(job["output"]["table"], table.to_csv(index=False))
    shown = table.drop(columns="reason")
    print(shown.to_string(index=False, float_format="{:.3f}".format, na_rep=""), flush=True)


def _row(record: dict) -> dict:
    """A record as a row; a base model's has its precision as name, and no rank or seed."""
    request, outcome = record["request"], record["outcome"]
    keys = {"run": request["name"], **{key: request[key] for key in ("precision", "rank", "seed", "split")}}
    return keys | {column: outcome.get(column) for column in ("status", "reason", *ACCURACY)}
