"""What lies beside a job's log while it runs, or once it has failed by itself: where, and what it says.

A note is read from other terminals and from other nodes of a cluster, so nothing in it needs this host to be read.
"""

import json
import os
import time
from pathlib import Path
from typing import Annotated, NotRequired, TypedDict

# Seconds between two writings of a running job's note, at the least.
NOTE_SECONDS = 2.0
# Seconds after which a note that was not written again is of a job that is gone: network file systems show what
# another node has written up to a minute late.
GONE_SECONDS = 90


class RunningNote(TypedDict):
    """What is known of a job that runs."""

    host: Annotated[str, "The host that it runs on."]
    started_at: Annotated[float, "When it began, in seconds since the epoch."]
    written_at: Annotated[float, "When this was written, likewise."]
    line: Annotated[str, "The last line that it printed."]
    phase: Annotated[str, "The phase that its process is in, as in a record's `phases`."]
    step: NotRequired[Annotated[int, "Optimiser steps taken; for trainings."]]
    steps: NotRequired[Annotated[int, "Optimiser steps to take; for trainings."]]
    loss: NotRequired[Annotated[float | None, "Loss of the last logged steps; for trainings."]]
    seconds_left: NotRequired[Annotated[float, "Seconds until the last step, projected; for trainings."]]


def running_note(log: Path) -> Path:
    """Return the file of the note beside the log of a job that runs."""
    return log.with_suffix(".running.json")


def failed_note(log: Path) -> Path:
    """Return the file of the note beside the log of a job that failed by itself."""
    return log.with_suffix(".failed.json")


def write_running(log: Path, note: RunningNote) -> None:
    """Write a running job's note whole; unlike a record it need not outlive a loss of power."""
    path = running_note(log)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(note), encoding="utf-8")
    partial.replace(path)


def read_running(log: Path) -> RunningNote | None:
    """Return the note of the job with this log; None where none runs, as far as notes tell."""
    try:
        note = json.loads(running_note(log).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return note if time.time() - note["written_at"] <= GONE_SECONDS else None
