"""How a run can end, beside `ok`, and still be a result: out of memory, out of time, diverged, spilled.

Whatever is none of these (a bug, a full disk, a missing file) is no outcome of the experiment and stays an error.
"""

import re
from pathlib import Path

from frontier import records
from frontier.units import GIB

ACCURACY = ("strict", "strict_se", "flexible", "flexible_se", "examples", "unfinished")
HISTORY = ("step", "loss", "learning_rate", "grad_norm", "tokens", "seconds")
PHASES = {"import": "load", "load": "load", "evaluate": "evaluate"}
# How a training can end that leaves an adapter to judge.
WITH_ADAPTER = ("ok", "spilled")
# The outputs of a job that are its record, and those that are its tables of results, by name.
RECORDS, TABLES = ("training", "evaluation", "accuracy"), ("losses", "answers")
_REFUSALS = (
    r"DefaultCPUAllocator: can't allocate memory: you tried to allocate (?P<size>\d+) (?P<unit>bytes)",
    r"unable to mmap (?P<size>\d+) (?P<unit>bytes)",
    r"CUDA out of memory\. Tried to allocate (?P<size>[\d.]+) (?P<unit>bytes|[KMG]iB)",
)
# What torch's allocator did not ask for: contexts, pinned memory, recorded graphs, kernels, the libraries' own.
_REFUSALS_BESIDE_TORCH = re.compile(
    r"(CUDA error|CUDA driver error|Triton Error \[CUDA\]): out of memory"
    r"|CUDA error: CUBLAS_STATUS_ALLOC_FAILED"
    r"|cuDNN error: CUDNN_STATUS_(ALLOC_FAILED|INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED)"
    r"|CUDA NVRTC error: NVRTC_ERROR_OUT_OF_MEMORY"
)
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class Stop(Exception):
    """Ends a run with an outcome; `known` holds what was measured by then."""

    def __init__(self, status: str, reason: str, **known):
        super().__init__(reason)
        self.outcome = {"status": status, "reason": reason} | known


def phase_of(detail: str) -> str:
    """The phase of the outcome (load, train or evaluate) in which a process's own phase falls."""
    return PHASES.get(detail, "train")


def from_error(error: BaseException | None) -> dict | None:
    """The outcome that an exception means, or what it came of; None where neither means one.

    To end the recording of a step that ran out of memory can fail, and that error hides the first.
    """
    while error is not None:
        if outcome := _meant_by(error):
            return outcome
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def _meant_by(error: BaseException) -> dict | None:
    import torch

    if isinstance(error, Stop):
        return error.outcome
    text = str(error)
    for pattern in _REFUSALS:
        match = re.search(pattern, text)
        if match:
            size = float(match["size"]) * _UNITS[match["unit"]]
            reason = f"out of memory: {size / GIB:.2f} GiB more were refused"
            return {"status": "oom", "reason": reason, "refused_gib": size / GIB}
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or _REFUSALS_BESIDE_TORCH.search(text):
        return {"status": "oom", "reason": "out of memory", "refused_gib": None}
    return None


def may_have_lost_device(outcome: dict) -> bool:
    """Whether the device may be past use, so that whatever asks it anything would fail as the run did."""
    return outcome["status"] == "oom" and "refused_gib" in outcome and outcome["refused_gib"] is None


def killed_by_kernel(detail: str, most_gib: float | None) -> dict:
    """The outcome of a process that the kernel's out-of-memory killer ended."""
    seen = "" if most_gib is None else f"; {most_gib:.2f} GiB resident at the most that was seen"
    return {
        "status": "oom",
        "phase": phase_of(detail),
        "reason": f"killed by the kernel, out of memory{seen}",
        "peak_host_gib": most_gib,
    }


def hung(detail: str, seconds: float, budget_gib: float) -> dict:
    """The outcome of a process that stood still under a memory budget."""
    reason = f"no sign of life for {seconds} s under a budget of {budget_gib:g} GiB"
    return {"status": "oom", "phase": phase_of(detail), "reason": reason}


def record_of(outputs: dict) -> str | None:
    """The file that tells how a job ended; None for a job whose end is no result."""
    return next((outputs[name] for name in RECORDS if name in outputs), None)


def discard_tables(outputs: dict) -> None:
    """Take away what a job that did not come to its end may have written in part."""
    for name in TABLES:
        if name in outputs:
            Path(outputs[name]).unlink(missing_ok=True)


def write(job: dict, outcome: dict, environment: dict | None) -> None:
    """Complete a job's node of the DAG with an outcome: its record, and empty what else of its outputs is missing."""
    outputs = job["output"]
    if "adapter" in outputs:
        Path(outputs["adapter"]).mkdir(parents=True, exist_ok=True)
    if "history" in outputs and not Path(outputs["history"]).exists():
        records.write_text(outputs["history"], ",".join(HISTORY) + "\n")
    for name in TABLES:
        if name in outputs and not Path(outputs[name]).exists():
            write_empty(outputs[name], {"nll": "double", "tokens": "int64"} if name == "losses" else {})
    record = {key: job.get(key) for key in ("digest", "code", "request", "tracked", "limits", "material")}
    record |= {"outcome": outcome, "environment": environment}
    records.write_json(record_of(outputs), record)


def write_empty(path: str, columns: dict[str, str]) -> None:
    """A Parquet table without rows; `columns` has the type of each column."""
    import pyarrow
    from pyarrow import parquet

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table({name: pyarrow.array([], kind) for name, kind in columns.items()}), path)
