"""Set each way of using an adapter against the run as it was trained: results/shipping.csv."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from frontier import records, ways
from frontier.progress import say
from frontier.results import uncertainty
from frontier.results.claims.claim import ALPHA, NEGLIGIBLE_LOSS
from frontier.results.contrasts import is_measured
from frontier.results.shipping import uses
from frontier.results.uncertainty import Interval

# The columns; docs/shipping.md says what each is.
COLUMNS = (
    "run", "way", "what", "status", "reason", "perplexity", "eval_loss", "against_as_trained", "against_low",
    "against_high", "basis", "told", "accuracy_strict", "accuracy_strict_se", "accuracy_flexible",
    "accuracy_flexible_se", "size_mib", "bits_a_weight", "types", "recommended_for",
)  # fmt: skip
# Nats a token within which two ways of computing the same function differ, by how weights in 16 bits are rounded.
_ROUNDING = 5e-4
# What `told` says of a way, each way at its share of 5%.
WORSE, BETTER, LEVEL, OPEN = "worse", "better", "no worse", "not told apart"
_MIB = 2**20
# A run's own files, in its folder.
_OWN = {
    "training": "training.json",
    "evaluation": "evaluation.json",
    "losses": "nll.parquet",
    "accuracy": "accuracy.json",
}


def gather_shipping(job: dict) -> None:
    """Write results/shipping.csv: a row for each run and way, measured or with why it is not."""
    request, inputs = job["request"], job["input"]
    rows: list[dict[str, Any]] = []
    for run in request["runs"]:
        own = {name: f"results/runs/{run}/{file}" for name, file in _OWN.items()}
        rows += rows_of(run, own, request["quantisations"], request["accuracy"], set(map(str, inputs["ways"] or [])))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    records.write_text(job["output"]["table"], table.to_csv(index=False))
    for run in request["runs"]:
        for line in uses.lines(table[table["run"] == run]):
            say(f"{run}  {line}")


def rows_of(run: str, own: Mapping[str, str], quantisations: list[str], accuracy: bool, made: set[str]) -> list[dict]:
    """Return a run's rows; `own` has the paths of its own records, `made` those of the ways' records."""
    training, evaluation = records.read_json(own["training"]), records.read_json(own["evaluation"])
    solved = records.read_json(own["accuracy"])["outcome"] if accuracy else None
    precision, reference = training["request"]["precision"], pd.read_parquet(own["losses"])
    names = ways.all_ways(quantisations)
    size = Path(own["training"]).parent / "adapter" / "adapter_model.safetensors"
    first = evaluation["outcome"] | {"accuracy": solved, "size_bytes": size.stat().st_size if size.exists() else None}
    if training["outcome"]["status"] not in ("ok", "spilled"):
        first = first | {key: training["outcome"].get(key) for key in ("status", "reason")}
    rows = [_row(run, ways.AS_TRAINED, first, None, 1)]
    for name in names[1:]:
        why = ways.inapplicable(name, precision)
        path = f"results/shipping/{run}/{name}.json"
        if why or path not in made:
            rows.append(_row(run, name, {"status": "not applicable", "reason": why}, None, 1))
            continue
        outcome = records.read_json(path)["outcome"]
        frame = pd.read_parquet(Path(path).with_suffix(".parquet"))
        paired = _paired(frame, reference)
        rows.append(_row(run, name, outcome, paired, len(made)))
    return uses.marked(rows)


def against(frame: pd.DataFrame, reference: pd.DataFrame, alpha: float = ALPHA) -> Interval:
    """Return how much higher a way's loss is than that of the run as trained, nats a token, paired on examples."""
    nll = np.column_stack([frame["nll"].to_numpy(float), reference["nll"].to_numpy(float)])
    tokens = reference["tokens"].to_numpy(float)
    estimate = float((nll[:, 0] - nll[:, 1]).sum() / tokens.sum())
    if len(tokens) < 2:
        return Interval(estimate, -np.inf, np.inf, np.inf, "one example, so no interval")
    resampled = uncertainty.resample_losses(nll, tokens)
    return uncertainty.over_examples(estimate, resampled[:, 0] - resampled[:, 1], alpha)


def _paired(frame: pd.DataFrame, reference: pd.DataFrame):
    """Return a function from an alpha to the interval of a way against as trained; None where one was not measured."""
    if not (is_measured(frame) and is_measured(reference)):
        return None
    return lambda alpha: against(frame, reference, alpha)


def _row(run: str, name: str, outcome: Mapping[str, Any], paired, count: int) -> dict[str, Any]:
    """Return a row; `count` is how many ways are judged, each of which may be wrong at its share of 5%."""
    solved = outcome.get("accuracy") or {}
    found = {
        "run": run,
        "way": name,
        "what": ways.in_words(name),
        "status": outcome["status"],
        "reason": outcome.get("reason") or _why(outcome),
        "perplexity": outcome.get("perplexity"),
        "eval_loss": outcome.get("eval_loss"),
        "size_mib": outcome["size_bytes"] / _MIB if outcome.get("size_bytes") else None,
        "bits_a_weight": outcome.get("bits"),
        "types": " ".join(f"{kind}:{number}" for kind, number in (outcome.get("types") or {}).items()) or None,
        **{f"accuracy_{key}": solved.get(key) for key in ("strict", "strict_se", "flexible", "flexible_se")},
    }
    if paired is None:
        return found
    interval, strict = paired(ALPHA), paired(ALPHA / count)
    ends = {"against_low": interval.low, "against_high": interval.high} if np.isfinite(interval.low) else {}
    return found | {"against_as_trained": interval.estimate, **ends, "basis": interval.basis, "told": told(strict)}


def told(interval: Interval) -> str:
    """Return what an interval of a way against as trained says."""
    if interval.low > _ROUNDING:
        return WORSE
    if interval.high < -_ROUNDING:
        return BETTER
    return LEVEL if interval.high < NEGLIGIBLE_LOSS else OPEN


def _why(outcome: Mapping[str, Any]) -> str | None:
    """Return why a record that ended ok has no perplexity: its base has random weights."""
    is_empty = outcome["status"] == "ok" and outcome.get("perplexity") is None
    return "its base is an architecture with random weights, so there is nothing to ship" if is_empty else None
