"""Name the runs that are shipped: those of the configuration or, where it names none, the recommended one."""

from pathlib import Path

import pandas as pd

from frontier import records
from frontier.progress import say
from frontier.results import contrasts
from frontier.results.claims.claim import Evidence
from frontier.results.claims.recommendation import recommendation
from frontier.results.findings import measured


def choose_shipped(job: dict) -> None:
    """Write the names of the runs to ship, a list, by the summary and each run's losses."""
    inputs, request = job["input"], job["request"]
    summary = measured(pd.read_csv(inputs["summary"]))
    runs = {Path(path).parent.name: pd.read_parquet(path) for path in inputs["losses"]}
    baselines = {Path(path).parent.name: pd.read_parquet(path) for path in inputs["baselines"]}
    losses = contrasts.gather(summary, runs, baselines)
    found = recommendation(Evidence(summary, losses, request["budget"], request["recommend"]))
    run = found["evidence"]["values"].get("run")
    if run is None:
        say(f"shipping: no run is recommended, so none is shipped; shipping.runs names others. {found['sentence']}")
    records.write_json(job["output"]["runs"], [run] if run else [])
