"""What a job asks of a scheduler such as Slurm: devices, memory and run time, by the configuration or the plan."""

import csv
import math
from functools import cache
from pathlib import Path

# In the study's folder, where Snakemake runs.
PLAN = Path("results/plan.csv")
# Columns of the plan: memory on the device in GiB, and hours of training.
PEAK_COLUMN = "predicted_peak_gib"
HOURS_COLUMN = "predicted_hours"
# In GiB of the host's memory: the interpreter and its libraries. They come beside the model, which passes through the
# host's memory on its way to a device.
_LIBRARIES_GIB = 4
# What a process asks for where neither the configuration nor the plan says: GiB of the host's memory, hours, cores.
_MEMORY_GIB = 16
_HOURS = 24
_CPUS = 4


def for_rule(config: dict, processes: int = 1, limit: int | None = None) -> dict:
    """Return a rule's `resources`: those of a job that has a device to itself, or one for each of its processes.

    Memory and run time depend on the run, and are functions of the job's wildcards. All processes are on one node.
    Snakemake's own executor heeds `gpu` alone, and never starts a job that asks for more than `limit`, its GPUs in all:
    a job of more processes asks for all of them, so that such jobs run one at a time.
    """
    return {
        "gpu": min(processes, limit or processes),
        "mem_mb": lambda wildcards: memory_mb(config, planned(wildcards.get("run")), processes),
        "runtime": lambda wildcards: minutes(config, planned(wildcards.get("run"))),
        "cpus_per_task": config["cpu_threads"] or _CPUS * processes,
        **({"nodes": 1} if processes > 1 else {}),
    }


def memory_mb(config: dict, plan: dict, processes: int = 1) -> int:
    """Return host memory in MB (2^20 bytes): `cluster.memory_gib`, else by the plan's peak, else 16 GiB a process."""
    peak = plan.get(PEAK_COLUMN)
    each = peak + _LIBRARIES_GIB if peak else _MEMORY_GIB
    return math.ceil(1024 * (config["cluster"]["memory_gib"] or processes * each))


def minutes(config: dict, plan: dict) -> int:
    """Return the run time: `cluster.hours`, else 1.5 of the plan's and an hour, else the budget's and one, else a day.

    The hour is for loading, evaluating and a slow start. A job that is cut off even so goes on from its checkpoint.
    """
    planned_hours, budget = plan.get(HOURS_COLUMN), config["budget"]["hours"]
    hours = 1.5 * planned_hours + 1 if planned_hours else budget + 1 if budget else _HOURS
    return math.ceil(60 * (config["cluster"]["hours"] or hours))


def planned(run: str | None) -> dict:
    """Return what results/plan.csv predicts of a run, by column; empty where no plan has the run."""
    return _rows(PLAN.resolve(), PLAN.stat().st_mtime_ns).get(run or "", {}) if PLAN.exists() else {}


@cache
def _rows(path: Path, changed: int) -> dict[str, dict]:
    """Return the plan's two columns by run; `changed`, when the file was written, is there for the cache alone."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    known = {row["run"]: {name: row.get(name) for name in (PEAK_COLUMN, HOURS_COLUMN)} for row in rows}
    return {run: {name: float(value) for name, value in row.items() if value} for run, row in known.items()}
