"""The jobs that plan: all runs' rows (results/plan.csv), or the row of one run before it starts."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pandas as pd

from frontier import records
from frontier.errors import UserError
from frontier.machine.device import open_device
from frontier.plan import batches, calibration
from frontier.plan.advice import advise, advise_judging, best_micro_batch
from frontier.plan.at_once import results_of
from frontier.plan.judging import Judging
from frontier.plan.planner import PARTS, Planner, open_planner
from frontier.plan.step.emulated_card import EmulatedCard
from frontier.progress import Pacer, say
from frontier.request_types import Job, PlanRequest, TrainingRequest
from frontier.table_types import PlanRow

COLUMNS = (
    "run",
    "device",
    "predicted_peak_gib",
    "allocated_gib",
    *PARTS,
    "overhead_gib",
    "fits",
    "examples",
    "steps",
    "tokens",
    "predicted_seconds_per_step",
    "predicted_hours",
    "limited_by",
    "largest_batch_that_fits",
    "best_micro_batch_size",
    "evaluation_gib",
    "evaluation_hours",
    "accuracy_gib",
    "accuracy_hours",
)
# Columns of hours: of the training, and of what judges it.
_HOURS = {"predicted_hours": "training", "evaluation_hours": "evaluation", "accuracy_hours": "accuracy at the most"}


def table(planner: Planner, requests: list[TrainingRequest], judging: Judging) -> tuple[pd.DataFrame, list[str]]:
    """Return the plan's rows, and the lines that go with it; raise UserError where no run can be planned.

    Runs that differ only by their seed are planned once, by the seed whose largest batch has the most tokens.
    """
    alike: dict[str, list[TrainingRequest]] = {}
    for request in requests:
        alike.setdefault(configuration(request["run"]), []).append(request)
    several = [*alike.values()]
    planned: dict[int, tuple[Mapping[str, Any], list[str]]] = {}
    pacer = Pacer(first_at_once=len(several) > 1)
    for place, found in results_of(lambda one: _planned(planner, one, judging), several):
        planned[place] = found
        pacer.tell(f"planned {len(planned)} of {len(several)} configurations", is_last=False)
    rows: dict[str, Mapping[str, Any]] = {}
    lines: list[str] = []
    for place, these in enumerate(several):
        row, told = planned[place]
        rows |= {request["run"]: {**row, "run": request["run"]} for request in these}
        lines += told
    if all("predicted_peak_gib" not in row for row in rows.values()):
        raise UserError(lines[0])
    numbers: dict[str, Any] = dict.fromkeys(("predicted_seconds_per_step", *_HOURS), float)
    numbers |= dict.fromkeys(("examples", "steps", "tokens", "best_micro_batch_size"), "Int64")
    frame = pd.DataFrame([rows[request["run"]] for request in requests], columns=COLUMNS).astype(numbers)
    return frame, [*dict.fromkeys(lines)]


def _planned(
    planner: Planner, requests: list[TrainingRequest], judging: Judging
) -> tuple[Mapping[str, Any], list[str]]:
    """Return the row of runs that differ only by their seed, and the lines that go with it."""
    if refusals := [refusal for request in requests if (refusal := _refusal(request, planner.device))]:
        return {"device": planner.name}, refusals
    worst = _worst(planner, requests)
    found = planner.row(worst)
    best = {"best_micro_batch_size": best_micro_batch(planner, worst, found["largest_batch_that_fits"])}
    row = cast(PlanRow, {**found, **best, **judging.columns(worst, found["fits"] is not False)})
    return row, [*filter(None, [advise(planner, worst, row)]), *advise_judging(judging, worst, row)]


def plan_runs(job: Job[PlanRequest]) -> None:
    """Write results/plan.csv; print the plan, and the advice on runs that do not fit, hardly do, or could be faster."""
    request = job["request"]
    study, card = request["study"], request["card"] or _calibrated(job["input"]["calibration"])
    planner, line = open_planner(study, card, Path("resources"))
    frame, lines = table(planner, request["runs"], Judging(planner, study["evaluation"], study["accuracy"]))
    records.write_text(job["output"]["plan"], frame.to_csv(index=False))
    shown = printed(frame)
    for text in (line, shown.to_string(index=False, float_format="{:.2f}".format, na_rep=""), *lines):
        say(text)
    say(total(frame))


def configuration(run: str) -> str:
    """Return a run's name without its seed."""
    return re.sub(r"-s\d+(?=-|$)", "", run, count=1)


def printed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what is printed of the plan, a row a configuration."""
    names = frame["run"].map(configuration).rename("configuration")
    shown = frame.assign(configuration=names, runs=names.map(names.value_counts())).drop_duplicates("configuration")
    shown = shown[shown["predicted_peak_gib"].notna()]
    columns = ["configuration", "runs", "predicted_peak_gib", "fits", "best_micro_batch_size", "steps", "tokens"]
    hours = [name for name in _HOURS if frame[name].notna().any()]
    judged = [name for name in ("evaluation_gib", "accuracy_gib") if frame[name].notna().any()]
    return shown[[*columns, *judged, *hours]].dropna(axis="columns", how="all")


def total(frame: pd.DataFrame) -> str:
    """Return a line on all runs together: what they learn and, as far as that is known, how long all of it takes.

    The bases are judged too, once for each precision.
    """
    refused = (frame["fits"] == False).sum()  # noqa: E712
    bases = frame["run"].str.partition("-")[0]
    hours = {
        name: frame[column].sum() + (0 if name == "training" else frame[column].groupby(bases).max().sum())
        for column, name in _HOURS.items()
        if frame[column].notna().any()
    }
    times = " and ".join(f"{value:.2f} of {name}" for name, value in hours.items())
    time = f"{sum(hours.values()):.2f} hours: {times}" if hours else "hours unknown"
    left = f", of {frame['predicted_hours'].notna().sum()} runs that fit" if hours and refused else ""
    tokens = frame["tokens"].dropna()
    learned = f", {int(tokens.sum()):,} tokens" if len(tokens) else ""
    return f"{len(frame)} runs{learned}, {time}{left}"


def plan_one(job: dict) -> None:
    """Write the row of one run, for its training to read before it starts; raise UserError if it cannot be planned."""
    request, run = job["request"], job["run"]
    study = request["study"]
    card = request["card"] or calibration.figures_here(open_device(study["device"], study["cpu_threads"]))
    planner, _ = open_planner(study, card, Path("resources"))
    planned = next(one for one in request["runs"] if one["run"] == run)
    refusal = _refusal(planned, planner.device)
    if refusal:
        raise UserError(refusal)
    planner.limit_gib = None
    records.write_json(job["output"]["row"], planner.row(planned))


def _worst(planner: Planner, requests: list[TrainingRequest]) -> TrainingRequest:
    """Return of runs that differ only by their seed the one whose largest micro-batch has the most tokens."""
    if len(requests) == 1 or len(set(planner.lengths)) == 1:
        return requests[0]
    drawn = {one["run"]: batches.largest(batches.draw(planner.rows, one)) for one in requests}
    return max(requests, key=lambda one: sum(batches.lengths(drawn[one["run"]])))


def _calibrated(path: str) -> dict:
    """Return the figures and rates in a calibration's file; the device that it measured may be another machine's."""
    card = records.read_json(path)
    if "capability" not in card:
        raise UserError(
            f"plan: {path} does not say what device it measured; "
            "make it again: snakemake --cores 1 results/plan.csv -R calibrate_device"
        )
    return card


def _refusal(request: TrainingRequest, device: EmulatedCard) -> str | None:
    """Return why a run cannot be planned, in one line, or None."""
    run = request["run"]
    if request.get("processes", 1) > 1:
        return f"plan: {run}: a plan is of one device, and this run is spread over {request['processes']} processes"
    if request.get("base_on") == "host":
        return f"plan: {run}: a plan knows no base on the host; take base_on: device, or measure it"
    if request["precision"] == "int8":
        return f"plan: {run}: a plan knows no products of int8; take int8 out of precisions, or measure it"
    try:
        device.compute_dtype(request)
    except UserError as error:
        return f"plan: {run}: {error}"
    return None
