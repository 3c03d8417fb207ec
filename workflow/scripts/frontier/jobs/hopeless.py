"""Judge by its plan whether a run is so far beyond the budget that it need not be started."""

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from frontier.jobs import worker
from frontier.outcome_types import BareOutcome, Status
from frontier.request_types import PlanRequest
from frontier.table_types import PlanRow
from frontier.units import is_there

# A run is not started if it is predicted to need more than this many times the budget of memory. The margin is several
# times the planner's error (docs/planner.md).
MEMORY_MARGIN = 1.15
# A run is not started if it is predicted to take more than this many times the budget of hours; likewise.
TIME_MARGIN = 1.5


def predicted_outcome(plan: PlanRequest, run: str, budget: Mapping[str, Any]) -> BareOutcome | None:
    """Return the outcome of a run that is hopeless by its plan, or None where it should be started.

    `plan` is what `study.plan_requests.plan_request` returns. The planner runs in a process of its own, so that it
    takes none of this one's memory. Its function is named by a text and not imported, so that no training's code
    digest has the planner's code, and an edit of the planner makes nothing again. On Linux, as long as CUDA is not
    started, that process is a fork of this one, which spares its imports.
    """
    start = _fork if sys.platform == "linux" and not torch.cuda.is_initialized() else _spawn
    with tempfile.TemporaryDirectory() as folder:
        row = Path(folder) / "row.json"
        status = start("plan.table.plan_one", {"request": plan, "run": run, "output": {"row": str(row)}})
        return outcome_of(json.loads(row.read_text("utf-8")), budget) if status == 0 else None


def _spawn(function: str, job: Mapping[str, Any]) -> int:
    """Do a job in a new process, whose output goes to the log only, and return its exit status."""
    command = [sys.executable, "-m", "frontier.jobs.worker", function, str(os.getpid())]
    return subprocess.run(command, input=json.dumps(job), text=True, stdout=sys.stderr).returncode


def _fork(function: str, job: Mapping[str, Any]) -> int:
    """Do a job in a fork of this process, whose output goes to the log only, and return its exit status."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        # Whatever happens, the fork ends here: only the parent may return to the caller.
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


def outcome_of(row: PlanRow, budget: Mapping[str, Any]) -> BareOutcome | None:
    """Return the outcome of a run that its plan puts far beyond the budget, or None if it should be started.

    `row` is the run's row of results/plan.csv, `budget` the config's section. The outcome's `basis` is `predicted`, so
    that it is never taken for a measured one. A run without a prediction is never hopeless.
    """
    need, memory = row.get("predicted_peak_gib"), budget["memory_gib"]
    if is_there(need) and memory and need > MEMORY_MARGIN * memory:
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
