"""Refuse to try a job again that failed by itself, since it would fail again.

Snakemake's `retries` start every failed job again, which is of use only for one that was cut off. For a job that failed
by itself a note is left beside its log, by which later attempts in the same call of Snakemake end at once, with the
same line.
"""

import contextlib
import os
import uuid
from pathlib import Path

from frontier import records
from frontier.errors import UserError
from frontier.job_notes import failed_note

# The variable with the name of the call of Snakemake that a job belongs to.
CALL = "FRONTIER_CALL"


def begin_call() -> None:
    """Give this call of Snakemake a name, in a variable that all of its jobs inherit, those on other nodes too."""
    os.environ.setdefault(CALL, uuid.uuid4().hex)


def refuse(log: Path, identity: str) -> None:
    """Raise UserError, before anything starts, where an earlier attempt of this call failed by itself.

    The job's log is then put back as that attempt left it. `identity` is the job's digest: a job whose digest has
    changed since is another job, and may be tried.
    """
    note = failed_note(log)
    if note.exists():
        known = records.read_json(note)
        if known["call"] and (known["call"], known["digest"]) == (os.environ.get(CALL), identity):
            # Snakemake empties a job's log before each attempt.
            records.write_text(log, known["log"])
            raise UserError(known["line"].removeprefix("error: "))
        note.unlink()


def give_up(log: Path, identity: str, line: str) -> None:
    """Leave the note that a job failed by itself, and with which line, by which later attempts are refused."""
    known = {"call": os.environ.get(CALL), "digest": identity, "line": line}
    # If the disk is too full for the note, the job is tried once more, and fails with the same line.
    with contextlib.suppress(OSError):
        records.write_json(failed_note(log), known | {"log": log.read_text("utf-8", "replace")})
