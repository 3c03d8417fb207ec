"""The ways in which a run can end and still be a result, and the record that a job leaves of its end.

Whatever is none of these (a bug, a full disk, a missing file) is no outcome of the experiment and stays an error.
"""

import re
from pathlib import Path
from typing import Any, cast

from frontier import records
from frontier.outcome_types import BareOutcome, Ending, Phase, Status
from frontier.record_types import Environment
from frontier.request_types import Job
from frontier.units import GIB

# The figures of an accuracy's outcome: each extraction's share of right answers with its standard error, how many
# problems were asked, and how many answers were cut off at the token limit.
ACCURACY = ("strict", "strict_se", "flexible", "flexible_se", "examples", "unfinished")
# The columns of history.csv, a row for each logged step: nats, tokens and seconds since the training's start.
HISTORY = ("step", "loss", "learning_rate", "grad_norm", "tokens", "seconds")
# The phase that an outcome names, by the phase that its process was in; for others it is `train`.
PHASES: dict[str, Phase] = {"import": "load", "load": "load", "evaluate": "evaluate"}
# The endings of a training that leave an adapter to judge.
WITH_ADAPTER = (Status.OK, Status.SPILLED)
# The names that rules give to a job's record among its outputs: each job that has a record has one of these.
RECORDS = ("training", "evaluation", "accuracy")
# The names that rules give to outputs that are tables of results.
TABLES = ("losses", "answers")
# How torch's allocators say that they were refused memory, and how much.
_REFUSALS = (
    r"DefaultCPUAllocator: can't allocate memory: you tried to allocate (?P<size>\d+) (?P<unit>bytes)",
    r"unable to mmap (?P<size>\d+) (?P<unit>bytes)",
    r"CUDA out of memory\. Tried to allocate (?P<size>[\d.]+) (?P<unit>bytes|[KMG]iB)",
)
# How CUDA and its libraries say that they were refused memory which torch's allocator did not ask for: for contexts,
# pinned memory, captured graphs and kernels.
_REFUSALS_BESIDE_TORCH = re.compile(
    r"(CUDA error|CUDA driver error|Triton Error \[CUDA\]): out of memory"
    r"|CUDA error: CUBLAS_STATUS_ALLOC_FAILED"
    r"|cuDNN error: CUDNN_STATUS_(ALLOC_FAILED|INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED)"
    r"|CUDA NVRTC error: NVRTC_ERROR_OUT_OF_MEMORY"
)
# Bytes in each unit that a refusal is told in.
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class Stop(Exception):
    """An error that ends a run with an outcome; `known` has what was measured by then."""

    def __init__(self, status: Status, reason: str, **known):
        super().__init__(reason)
        self.outcome = cast(BareOutcome, {"status": status, "reason": reason} | known)


def phase_of(detail: str) -> Phase:
    """Return the phase of an outcome (load, train or evaluate) to which a process's own phase belongs."""
    return PHASES.get(detail, "train")


def from_error(error: BaseException | None) -> BareOutcome | None:
    """Return the outcome that an exception means, or one that it was raised from; None where none of them means one.

    An exception before it counts where a step runs out of memory while it is captured in a CUDA graph: ending the
    capture fails too, and that second error hides the first.
    """
    while error is not None:
        if outcome := _meant_by(error):
            return outcome
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def _meant_by(error: BaseException) -> BareOutcome | None:
    # Imported here, since modules that must not load torch import this one.
    import torch

    if isinstance(error, Stop):
        return error.outcome
    text = str(error)
    for pattern in _REFUSALS:
        match = re.search(pattern, text)
        if match:
            size = float(match["size"]) * _UNITS[match["unit"]]
            reason = f"out of memory: {size / GIB:.2f} GiB more were refused"
            return {"status": Status.OOM, "reason": reason, "refused_gib": size / GIB}
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or _REFUSALS_BESIDE_TORCH.search(text):
        return {"status": Status.OOM, "reason": "out of memory", "refused_gib": None}
    return None


def may_have_lost_device(outcome: Ending) -> bool:
    """Return whether the device may have been lost, so that every further call to it would fail.

    That may be where CUDA itself, and not torch's allocator, was refused memory: such an error names no size.
    """
    return outcome["status"] == Status.OOM and "refused_gib" in outcome and outcome["refused_gib"] is None


def killed_by_kernel(detail: str, most_gib: float | None) -> BareOutcome:
    """Return the outcome of a process that the kernel's out-of-memory killer ended.

    `detail` is the phase that the process was in, `most_gib` the most memory that it was seen to hold, in GiB.
    """
    seen = "" if most_gib is None else f"; {most_gib:.2f} GiB resident at the most that was seen"
    return {
        "status": Status.OOM,
        "phase": phase_of(detail),
        "reason": f"killed by the kernel, out of memory{seen}",
        "peak_host_gib": most_gib,
    }


def hung(detail: str, seconds: float, budget_gib: float) -> BareOutcome:
    """Return the outcome of a process that gave no sign of life for so many `seconds` under a memory budget."""
    reason = f"no sign of life for {seconds} s under a budget of {budget_gib:g} GiB"
    return {"status": Status.OOM, "phase": phase_of(detail), "reason": reason}


def record_of(outputs: dict[str, Any]) -> str | None:
    """Return the path of a job's record of its end; None for a job whose end is no result."""
    return next((outputs[name] for name in RECORDS if name in outputs), None)


def discard_tables(outputs: dict[str, Any]) -> None:
    """Delete the tables of results, which a job that did not come to its end may have written in part."""
    for name in TABLES:
        if name in outputs:
            Path(outputs[name]).unlink(missing_ok=True)


def write(job: Job, outcome: Ending, environment: Environment | None) -> None:
    """Write a job's record with its outcome, and an empty file or folder for each other output that is missing.

    So Snakemake has every output of the job, however it ended. `environment` is None for a job that was not started.
    """
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
    records.write_json(cast(str, record_of(outputs)), record)


def write_empty(path: str, columns: dict[str, str]) -> None:
    """Write a Parquet table without rows; `columns` has the Arrow type of each column by its name."""
    import pyarrow
    from pyarrow import parquet

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table({name: pyarrow.array([], kind) for name, kind in columns.items()}), path)
