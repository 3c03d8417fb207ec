"""Snakemake's `retries` start every failed job again; only one that was cut off is worth it.

A job that failed by itself leaves a note beside its log, and the attempts after it in the same call of Snakemake end
at once, with the same line.
"""

from pathlib import Path

from frontier import records
from frontier.errors import UserError


def refuse(log: Path, identity: str, attempt: int) -> None:
    """Raise UserError, before anything is started, where an earlier attempt failed by itself; its log stands again.

    `attempt` is Snakemake's, which counts from 1 in each of its calls: a first attempt is always made.
    """
    note = _note(log)
    if attempt > 1 and note.exists():
        known = records.read_json(note)
        if known["digest"] == identity:
            # Snakemake empties a job's log before each attempt.
            records.write_text(log, known["log"])
            raise UserError(known["line"].removeprefix("error: "))
    note.unlink(missing_ok=True)


def give_up(log: Path, identity: str, line: str) -> None:
    """Note that the job failed by itself, so that no attempt after this one is made."""
    known = {"digest": identity, "line": line, "log": log.read_text("utf-8", "replace")}
    records.write_json(_note(log), known)


def _note(log: Path) -> Path:
    return log.with_suffix(".failed.json")
