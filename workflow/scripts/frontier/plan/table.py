"""The jobs that plan: all runs' rows (results/plan.csv), or the row of one run before it starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from frontier import records
from frontier.errors import UserError
from frontier.machine.device import open_device
from frontier.plan import calibration
from frontier.plan.advice import advise
from frontier.plan.planner import PARTS, Planner, open_planner
from frontier.plan.step.emulated_card import EmulatedCard
from frontier.progress import Pacer, say
from frontier.request_types import Job, PlanRequest, TrainingRequest
from frontier.table_types import PlanRow

COLUMNS = (
    "run",
    "device",
    "predicted_peak_gib",
    *PARTS,
    "overhead_gib",
    "held_gib",
    "fits",
    "examples",
    "steps",
    "tokens",
    "predicted_seconds_per_step",
    "predicted_hours",
    "limited_by",
    "largest_batch_that_fits",
)


def table(planner: Planner, requests: list[TrainingRequest]) -> tuple[pd.DataFrame, list[str]]:
    """Return the plan's rows, and the lines that go with it; raise UserError where no run can be planned.

    Of runs that differ only by their seed, the one that needs the most memory gets a line of advice.
    """
    rows: list[Mapping[str, Any]] = []
    lines: list[str] = []
    most: dict[str, tuple[float, TrainingRequest, PlanRow]] = {}
    pacer = Pacer()
    for number, request in enumerate(requests):
        pacer.tell(f"planned {number} of {len(requests)} runs", is_last=False)
        refusal = _refusal(request, planner.device)
        if refusal:
            rows.append({"run": request["run"], "device": planner.name})
            lines.append(refusal)
            continue
        row = planner.row(request)
        rows.append(row)
        need = row["predicted_peak_gib"] + row["overhead_gib"]
        name = records.digest([request[key] for key in ("precision", "rank", "lora", "training", "compute_dtype")])
        most[name] = max(most.get(name, (0, None, None)), (need, request, row), key=lambda one: one[0])
    lines += filter(None, (advise(planner, request, row) for _, request, row in most.values()))
    if all("predicted_peak_gib" not in row for row in rows):
        raise UserError(lines[0])
    numbers: dict[str, Any] = dict.fromkeys(("predicted_seconds_per_step", "predicted_hours"), float)
    numbers |= dict.fromkeys(("examples", "steps", "tokens"), "Int64")
    return pd.DataFrame(rows, columns=COLUMNS).astype(numbers), lines


def plan_runs(job: Job[PlanRequest]) -> None:
    """Write results/plan.csv; print the plan, and the advice on runs that do not fit or hardly do."""
    request = job["request"]
    card = request["card"] or _calibrated(job["input"]["calibration"])
    planner, line = open_planner(request["study"], card, Path("resources"))
    frame, lines = table(planner, request["runs"])
    records.write_text(job["output"]["plan"], frame.to_csv(index=False))
    for text in (line, configurations(frame).to_string(index=False, float_format="{:.2f}".format, na_rep=""), *lines):
        say(text)
    say(total(frame))


def configurations(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what is printed of the plan: a row a configuration, of its seeds the one that needs most."""
    names = frame["run"].str.replace(r"-s\d+(?=-|$)", "", n=1, regex=True).rename("configuration")
    worst = frame.assign(configuration=names).sort_values("held_gib", ascending=False, kind="stable")
    worst = worst.drop_duplicates("configuration").sort_index().assign(runs=names.map(names.value_counts()))
    columns = ["configuration", "runs", "held_gib", "fits", "steps", "tokens", "predicted_hours"]
    return worst[[*columns, "largest_batch_that_fits"]]


def total(frame: pd.DataFrame) -> str:
    """Return a line on all runs together: what they learn and, as far as that is known, how long it takes."""
    refused = (frame["fits"] == False).sum()  # noqa: E712
    hours = frame["predicted_hours"].dropna()
    time = f"{hours.sum():.2f} hours of training" if len(hours) else "hours unknown"
    left = f", of {len(hours)} runs that fit" if len(hours) and refused else ""
    tokens = frame["tokens"].dropna()
    learned = f", {int(tokens.sum()):,} tokens" if len(tokens) else ""
    return f"{len(frame)} runs{learned}, {time}{left}; evaluations come on top"


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
