"""What a job asks of a scheduler such as Slurm: one device, memory and run time, by the configuration or the plan."""

import csv
import math
from functools import cache
from pathlib import Path

PLAN = Path("results/plan.csv")
GPU_GIB, GPU_HOURS = "predicted_peak_gib", "predicted_hours"
# The interpreter and its libraries beside the model, which passes through the host's memory on its way to a device.
_LIBRARIES_GIB = 4
_MEMORY_GIB, _HOURS, _CPUS = 16, 24, 4


def resources(config: dict, processes: int = 1, limit: int | None = None) -> dict:
    """A rule's `resources` for a job with a device to itself; those that depend on the run are functions of wildcards.

    A job of several processes has one for each, on one node. Where Snakemake's own executor runs the job, `gpu` alone
    means anything; a call that is allowed fewer in all than `processes`, by `limit`, runs such jobs one at a time.
    """
    return {
        "gpu": min(processes, limit or processes),
        "mem_mb": lambda wildcards: memory_mb(config, planned(wildcards.get("run")), processes),
        "runtime": lambda wildcards: minutes(config, planned(wildcards.get("run"))),
        "cpus_per_task": config["cpu_threads"] or _CPUS * processes,
        **({"nodes": 1} if processes > 1 else {}),
    }


def memory_mb(config: dict, plan: dict, processes: int = 1) -> int:
    """Host memory in MB (2^20 bytes): `cluster.memory_gib`, or each process's planned peak and libraries, or 16 GiB."""
    peak = plan.get(GPU_GIB)
    each = peak + _LIBRARIES_GIB if peak else _MEMORY_GIB
    return math.ceil(1024 * (config["cluster"]["memory_gib"] or processes * each))


def minutes(config: dict, plan: dict) -> int:
    """Run time: `cluster.hours`, or half more than the plan's and an hour, or an hour over the budget's, or a day.

    The hour is for loading, evaluating and a slow start; what is cut off all the same goes on from its checkpoint.
    """
    planned_hours, budget = plan.get(GPU_HOURS), config["budget"]["hours"]
    hours = 1.5 * planned_hours + 1 if planned_hours else budget + 1 if budget else _HOURS
    return math.ceil(60 * (config["cluster"]["hours"] or hours))


def planned(run: str | None) -> dict:
    """What results/plan.csv foretells of a run; nothing where there is no plan, or the run is not in it."""
    return _rows(PLAN.resolve(), PLAN.stat().st_mtime_ns).get(run, {}) if PLAN.exists() else {}


@cache
def _rows(path: Path, changed: int) -> dict[str, dict]:
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    known = {row["run"]: {name: row.get(name) for name in (GPU_GIB, GPU_HOURS)} for row in rows}
    return {run: {name: float(value) for name, value in row.items() if value} for run, row in known.items()}
