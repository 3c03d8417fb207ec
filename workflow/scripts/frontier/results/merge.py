"""Merge the summaries of several folders into one table of runs that can be compared: results/merged.csv."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from frontier import records
from frontier.errors import UserError
from frontier.outcome_types import Status
from frontier.record_types import EvaluationRecord, TrainingRecord
from frontier.results import columns, derived
from frontier.results.summary import surroundings, unlike_most

# Sections of a training's request in which runs of one table may differ, which `notes` then tells.
_SETTINGS = ("lora", "training", "compute_dtype")


def material(training: TrainingRecord, evaluation: EvaluationRecord) -> dict[str, Any]:
    """Return the digests that runs must share to be compared; None for what a killed process left no word of."""
    known: Mapping[str, Any] | None = training.get("material")
    data = known.get("data") if known else None
    return {
        "model": known["model"]["digest"] if known else None,
        "data": records.digest([data["examples"]["files"], data["request"]]) if data else None,
        "training code": training.get("code"),
        "evaluation code": evaluation.get("code"),
    }


def refuse_unlike(materials: dict[str, dict], unfinished: set[str]) -> None:
    """Raise UserError naming each run whose model, data or code is not known, or not that of the first that knows all.

    `materials` has what `material` returns, by run. What a run in `unfinished` does not know is no reason to refuse it,
    since it measured nothing that could be compared.
    """
    complete = (name for name, facts in materials.items() if None not in facts.values())
    first = next(complete, next(iter(materials)))
    unlike, reference = [], materials[first]
    for name, facts in materials.items():
        differing = [
            fact
            for fact, value in facts.items()
            if (value is None and name not in unfinished) or (value is not None and value != reference[fact])
        ]
        if differing:
            unlike.append(f"{name} ({', '.join(differing)})")
    if unlike:
        listed = "; ".join(unlike[:5]) + (f"; and {len(unlike) - 5} more" if len(unlike) > 5 else "")
        raise UserError(f"merge: not made from what {first} was made from, so refused: {listed}")


def settings(training: TrainingRecord, evaluation: EvaluationRecord) -> dict[str, Any]:
    """Return what a run was asked for beside its configuration and seed: {"training.learning_rate": 0.001, ...}."""
    request: Mapping[str, Any] = training["request"]
    asked = {key: request[key] for key in _SETTINGS}
    asked["lora"] = {key: value for key, value in asked["lora"].items() if key != "alpha"}
    asked["evaluation"] = {key: evaluation["request"].get(key) for key in ("batch_size", "compute_dtype")}
    flat: dict[str, Any] = {}
    for section, value in asked.items():
        flat |= (
            {f"{section}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {section: value}
        )
    return flat


def merge(folders: list[str]) -> pd.DataFrame:
    """Return the rows of all folders, their folder in front; `notes` and `pareto` are judged again, over all rows."""
    frames, trainings, evaluations = [], {}, {}
    for folder in folders:
        frame = pd.read_csv(Path(folder) / "results/summary.csv")
        frame.insert(0, "folder", folder)
        frames.append(frame)
        for run in frame["run"]:
            place = Path(folder) / "results/runs" / run
            trainings[str(place)] = records.read_json(place / "training.json")
            evaluations[str(place)] = records.read_json(place / "evaluation.json")
    table = pd.concat(frames, ignore_index=True)
    pairs = list(zip(trainings.values(), evaluations.values(), strict=True))
    materials = {name: material(*pair) for name, pair in zip(trainings, pairs, strict=True)}
    refuse_unlike(materials, {name for name, one in trainings.items() if one["outcome"]["status"] != Status.OK})
    facts = [surroundings(training["environment"]) | settings(training, other) for training, other in pairs]
    return table.assign(notes=unlike_most(facts), pareto=derived.pareto(table))


def merge_summaries(job: dict) -> None:
    """Write results/merged.csv from the summaries and the records beside them."""
    folders = job["request"]["folders"]
    if not folders:
        raise UserError("config: merge: got nothing, takes folders of studies that have their results/summary.csv")
    table = merge(folders)
    records.write_text(job["output"]["merged"], table.to_csv(index=False))
    shown = ["folder", "run", "status", "perplexity", "train_seconds", "peak_memory_gib", "device", "host"]
    columns.say_table(table[shown])
