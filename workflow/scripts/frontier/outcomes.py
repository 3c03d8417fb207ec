"""How a run can end, beside `ok`, and still be a result: out of memory, out of time, diverged, spilled.

Whatever is none of these (a bug, a full disk, a missing file) is no outcome of the experiment and stays an error.
"""

import re
from pathlib import Path

from frontier import records

GIB = 2**30
HISTORY = ("step", "loss", "learning_rate", "grad_norm", "tokens", "seconds")
PHASES = {"import": "load", "load": "load", "evaluate": "evaluate"}
_REFUSALS = (
    r"DefaultCPUAllocator: can't allocate memory: you tried to allocate (?P<bytes>\d+) bytes",
    r"unable to mmap (?P<bytes>\d+) bytes",
    r"CUDA out of memory\. Tried to allocate (?P<size>[\d.]+) (?P<unit>[KMG]iB)",
)
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class Stop(Exception):
    """Ends a run with an outcome; `known` holds what was measured by then."""

    def __init__(self, status: str, reason: str, **known):
        super().__init__(reason)
        self.outcome = {"status": status, "reason": reason} | known


def phase_of(detail: str) -> str:
    """The phase of the outcome (load, train or evaluate) in which a process's own phase falls."""
    return PHASES.get(detail, "train")


def from_error(error: BaseException) -> dict | None:
    """The outcome that an exception means, or None where it means none."""
    if isinstance(error, Stop):
        return error.outcome
    if isinstance(error, MemoryError):
        return {"status": "oom", "reason": "out of memory", "refused_gib": None}
    text = str(error)
    for pattern in _REFUSALS:
        match = re.search(pattern, text)
        if match:
            named = match.groupdict()
            size = int(named["bytes"]) if "bytes" in named else float(named["size"]) * _UNITS[named["unit"]]
            reason = f"out of memory: {size / GIB:.2f} GiB more were refused"
            return {"status": "oom", "reason": reason, "refused_gib": size / GIB}
    return None


def killed_by_kernel(detail: str, last_gib: float | None) -> dict:
    """The outcome of a process that the kernel's out-of-memory killer ended."""
    seen = "" if last_gib is None else f"; {last_gib:.2f} GiB resident when last seen"
    return {
        "status": "oom",
        "phase": phase_of(detail),
        "reason": f"killed by the kernel, out of memory{seen}",
        "peak_host_gib": last_gib,
    }


def hung(detail: str, seconds: float, budget_gib: float) -> dict:
    """The outcome of a process that stood still under a memory budget."""
    reason = f"no sign of life for {seconds} s under a budget of {budget_gib:g} GiB"
    return {"status": "oom", "phase": phase_of(detail), "reason": reason}


def write(job: dict, outcome: dict, environment: dict | None) -> None:
    """Complete a job's node of the DAG with an outcome: its record, and empty what else of its outputs is missing."""
    outputs = job["output"]
    if "adapter" in outputs:
        Path(outputs["adapter"]).mkdir(parents=True, exist_ok=True)
    if "history" in outputs and not Path(outputs["history"]).exists():
        records.write_text(outputs["history"], ",".join(HISTORY) + "\n")
    if "losses" in outputs and not Path(outputs["losses"]).exists():
        write_no_losses(outputs["losses"])
    record = {key: job.get(key) for key in ("digest", "code", "request", "tracked", "limits", "material")}
    record |= {"outcome": outcome, "environment": environment}
    records.write_json(outputs.get("training") or outputs["evaluation"], record)


def write_no_losses(path: str) -> None:
    import pyarrow
    from pyarrow import parquet

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    empty = {"nll": pyarrow.array([], pyarrow.float64()), "tokens": pyarrow.array([], pyarrow.int64())}
    parquet.write_table(pyarrow.table(empty), path)
