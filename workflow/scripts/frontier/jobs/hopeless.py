"""Runs that a plan puts so far beyond the budget that they need not be started."""

import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import torch

from frontier.jobs import worker
from frontier.outcomes import Status
from frontier.units import is_there

# How far past a budget a prediction must be before a run is given up unseen: several times the planner's error.
MEMORY_MARGIN, TIME_MARGIN = 1.15, 1.5


def predicted_outcome(plan: dict, run: str, budget: dict) -> dict | None:
    """The outcome of a run that is hopeless by its plan, or None where it should be started.

    `plan` is `config.plan_request`. The planner runs in a process of its own, which leaves this one's memory alone,
    and is no part of what a training depends on: to mend it makes nothing again. On Linux, before CUDA is started, this
    one forks that one, which spares its imports.
    """
    start = _fork if sys.platform == "linux" and not torch.cuda.is_initialized() else _spawn
    with tempfile.TemporaryDirectory() as folder:
        row = Path(folder) / "row.json"
        status = start("plan.table.plan_one", {"request": plan, "run": run, "output": {"row": str(row)}})
        return hopeless(json.loads(row.read_text("utf-8")), budget) if status == 0 else None


def _spawn(function: str, job: dict) -> int:
    """The exit status of a worker that has done a job, saying what it says in the log alone."""
    command = [sys.executable, "-m", "frontier.jobs.worker", function, str(os.getpid())]
    return subprocess.run(command, input=json.dumps(job), text=True, stdout=sys.stderr).returncode


def _fork(function: str, job: dict) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        # Whatever happens, what called this goes on in the parent alone.
        try:
            worker.die_with(parent)
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            worker.do(function, job)
        except Exception:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def hopeless(row: dict, budget: dict) -> dict | None:
    """The outcome of a run that its plan's row puts far beyond the budget, or None where it should be started.

    `row` is a row of results/plan.csv, `budget` the config's section. The outcome's `basis` is `predicted`, so that
    it is never taken for a measured one. A run without a prediction is never hopeless.
    """
    peak, memory = row.get("predicted_peak_gib"), budget["memory_gib"]
    need = is_there(peak) and peak + row["overhead_gib"]
    if need and memory and need > MEMORY_MARGIN * memory:
        return {
            "status": Status.OOM,
            "phase": "load" if row["weights_gib"] > memory else "train",
            "basis": "predicted",
            "reason": f"predicted to need {need:.1f} GiB, the budget is {memory:g}; not started",
        }
    hours, limit = row.get("predicted_hours"), budget["hours"]
    if is_there(hours) and hours and limit and hours > TIME_MARGIN * limit:
        return {
            "status": Status.OVER_TIME,
            "phase": "train",
            "basis": "predicted",
            "projected_hours": hours,
            "reason": f"predicted to take {hours:.1f} hours, the budget is {limit:g}; not started",
        }
    return None
