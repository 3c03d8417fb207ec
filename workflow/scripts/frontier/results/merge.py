"""Merge the summaries of several folders into one table of runs that can be compared: results/merged.csv."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from frontier import axes, records
from frontier.errors import UserError
from frontier.outcome_types import Status
from frontier.progress import say
from frontier.record_types import EvaluationRecord, TrainingRecord
from frontier.results import columns, contrasts
from frontier.results.frontier import frontier
from frontier.results.merged.studies import read_studies
from frontier.results.summary import surroundings, unlike_most

# Sections of a training's request in which runs of one table may differ, which `notes` then tells.
_SETTINGS = ("lora", "training", "compute_dtype")
_RATE, _ALPHA = "learning_rate", "lora.alpha"


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
    """Return what a run was asked for beside its precision, rank and seed: {"training.learning_rate": 0.001, ...}."""
    request: Mapping[str, Any] = training["request"]
    asked = {key: request[key] for key in _SETTINGS}
    asked["evaluation"] = {key: evaluation["request"].get(key) for key in ("batch_size", "compute_dtype")}
    flat: dict[str, Any] = {}
    for section, value in asked.items():
        flat |= (
            {f"{section}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {section: value}
        )
    return flat


def with_axes(table: pd.DataFrame, asked: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the table with each axis that any study has, and the learning rate, told of every run.

    `asked` has what `settings` returns, by row. A study that had one value of what is an axis elsewhere has no column
    of it; its runs would else be none of those that they can be compared with. Of targets the names are the studies'
    own, and are not made up.
    """
    table = table.copy()
    for name in [name for name in axes.TAGS if name in table or name == _RATE]:
        if name == "targets":
            continue
        known = table[name] if name in table else pd.Series(None, index=table.index, dtype=object)
        found = [fact.get(_key(name)) for fact in asked]
        if name == "alpha":
            found = [_rule(value, rank, known) for value, rank in zip(found, table["rank"], strict=True)]
        table[name] = known.astype(object).where(known.notna(), pd.Series(found, index=table.index, dtype=object))
    return columns.in_order(table.infer_objects())


def with_settings(table: pd.DataFrame, asked: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the table as `with_axes` does, with a column more for each other setting in which its runs differ.

    Alpha may follow the rank, so that it differs where runs of one rank do.
    """
    table = with_axes(table, asked)
    for name in [name for name in axes.TAGS if name not in table]:
        found = [_plain(fact.get(_key(name))) for fact in asked]
        alike = table["rank"] if name == "alpha" else pd.Series(0, index=table.index)
        if len({*zip(alike, found, strict=True)}) > alike.nunique():
            table[name] = pd.Series(found, index=table.index, dtype=object)
    return columns.in_order(table.infer_objects())


def _plain(value):
    """Return a setting's value as a cell has it: a list of layers as one text, a whole number as any other."""
    if isinstance(value, list):
        return ", ".join(value)
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _rule(alpha: float, rank: int, known: pd.Series) -> float | str:
    """Return a run's alpha as a column of alphas has it: by one of its rules, 2r, if it is what the rule makes."""
    rules = [value for value in known.dropna().unique() if isinstance(value, str) and value.endswith("r")]
    return next((rule for rule in rules if float(rule[:-1]) * rank == alpha), alpha)


def _key(name: str) -> str:
    """Return under which key `settings` has an axis."""
    place = axes.place(name)
    return ".".join(place) if len(place) > 1 or name in _SETTINGS else f"training.{place[0]}"


def remarks(table: pd.DataFrame, around: list[dict], asked: list[dict[str, Any]]) -> list[str | None]:
    """Return for each row what of its surroundings and settings is not what the most rows have.

    A setting that is a column of the table is none of them, unless its names there are not known of all. Alpha may
    follow the rank, so that it is held against the runs of the same rank alone.
    """
    told = {_key(name) for name in axes.TAGS if name in table and (name != "targets" or table[name].notna().all())}
    facts = [
        one | {key: value for key, value in fact.items() if key not in told | {_ALPHA}}
        for one, fact in zip(around, asked, strict=True)
    ]
    noted = [[remark] for remark in unlike_most(facts)]
    for rank in [] if _ALPHA in told else table["rank"].unique():
        places = [place for place, one in enumerate(table["rank"]) if one == rank]
        for place, remark in zip(places, unlike_most([{_ALPHA: asked[one][_ALPHA]} for one in places]), strict=True):
            noted[place].append(remark)
    return ["; ".join(filter(None, one)) or None for one in noted]


def merge(folders: list[str]) -> pd.DataFrame:
    """Return the rows of all folders, their folder in front; the columns that compare runs are judged again."""
    studies = read_studies(folders)
    for line in filter(None, (one.nothing_finished for one in studies)):
        say(f"merge: {line}")
    frames, losses = [], []
    trainings: dict[str, TrainingRecord] = {}
    evaluations: dict[str, EvaluationRecord] = {}
    for one in studies:
        frames.append(one.summary.copy())
        frames[-1].insert(0, "folder", one.folder)
        places = [str(Path(one.folder) / "results/runs" / run) for run in one.summary["run"]]
        trainings |= dict(zip(places, one.trainings, strict=True))
        evaluations |= dict(zip(places, one.evaluations, strict=True))
        losses += one.losses
    pairs = list(zip(trainings.values(), evaluations.values(), strict=True))
    materials = {name: material(*pair) for name, pair in zip(trainings, pairs, strict=True)}
    refuse_unlike(materials, {name for name, one in trainings.items() if one["outcome"]["status"] != Status.OK})
    asked = [settings(*pair) for pair in pairs]
    around = [surroundings(training["environment"]) for training, _ in pairs]
    table = with_axes(pd.concat(frames, ignore_index=True), asked)
    table.insert(0, "folder", table.pop("folder"))
    known = {place: one for place, one in enumerate(losses) if one is not None and contrasts.is_measured(one)}
    standing = frontier(table, known)
    table = table.assign(notes=remarks(table, around, asked), **standing)
    return table[["folder", *columns.in_order(table.drop(columns="folder"))]]


def merge_summaries(job: dict) -> None:
    """Write results/merged.csv from the summaries and the records beside them."""
    folders = job["request"]["folders"]
    if not folders:
        raise UserError("config: merge: got nothing, takes folders of studies that have their results/summary.csv")
    table = merge(folders)
    records.write_text(job["output"]["merged"], table.to_csv(index=False))
    varied = [name for name in axes.TAGS if name in table and table[name].nunique() > 1]
    shown = ["folder", "run", *varied, "status", "perplexity", "train_seconds", "peak_memory_gib", "device", "host"]
    columns.say_table(table[shown])
