"""Snakemake's `retries` start every failed job again; only one that was cut off is worth it.

A job that failed by itself leaves a note beside its log, and its later attempts in the same call of Snakemake end at
once, with the same line.
"""

import contextlib
import os
import uuid
from pathlib import Path

from frontier import records
from frontier.errors import UserError

CALL = "FRONTIER_CALL"


def begin_call() -> None:
    """Name this call of Snakemake, for all of its jobs: they inherit its environment, on other nodes too."""
    os.environ.setdefault(CALL, uuid.uuid4().hex)


def refuse(log: Path, identity: str) -> None:
    """Raise UserError, before anything is started, where an earlier attempt failed by itself; its log stands again."""
    note = _note(log)
    if note.exists():
        known = records.read_json(note)
        if known["call"] and (known["call"], known["digest"]) == (os.environ.get(CALL), identity):
            # Snakemake empties a job's log before each attempt.
            records.write_text(log, known["log"])
            raise UserError(known["line"].removeprefix("error: "))
        note.unlink()


def give_up(log: Path, identity: str, line: str) -> None:
    """Note that the job failed by itself, so that no attempt after this one is made."""
    known = {"call": os.environ.get(CALL), "digest": identity, "line": line}
    # A disk too full for the note is one more attempt, which says the same again.
    with contextlib.suppress(OSError):
        records.write_json(_note(log), known | {"log": log.read_text("utf-8", "replace")})


def _note(log: Path) -> Path:
    return log.with_suffix(".failed.json")
