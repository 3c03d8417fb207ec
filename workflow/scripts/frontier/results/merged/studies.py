"""Read finished studies from their folders, and say in one line what of them cannot be read."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from frontier import records
from frontier.errors import UserError, first_line, no_study
from frontier.outcome_types import Status
from frontier.record_types import EvaluationRecord, TrainingRecord

# Columns that a summary must have to be set beside others.
_NEEDED = (
    "run", "precision", "rank", "seed", "status", "perplexity", "eval_loss", "train_seconds", "peak_memory_gib",
    "memory_metric", "device",
)  # fmt: skip
_AGAIN = "make it again there with snakemake --cores 1 results/summary.csv"


@dataclass(frozen=True)
class Study:
    """What a folder holds of a study: its summary, and by its rows the records and each example's losses, or None.

    `bases` has the losses of the untrained model at each precision, where they lie there.
    """

    folder: str
    summary: pd.DataFrame
    trainings: list[TrainingRecord]
    evaluations: list[EvaluationRecord]
    losses: list[pd.DataFrame | None]
    bases: dict[str, pd.DataFrame]

    @property
    def nothing_finished(self) -> str | None:
        """Why it has nothing to set beside others, in one line; None where a run of it ended ok."""
        if (self.summary["status"] == Status.OK).any():
            return None
        counts = Counter(self.summary["status"])
        ended = ", ".join(f"{count} {status}" for status, count in counts.items())
        return f"{self.folder}: none of its runs ended ok ({ended or 'it has no run'}), so it has nothing to compare"


def read_studies(folders: list[str]) -> list[Study]:
    """Return the studies of the folders; raises UserError for what is none, or is there twice."""
    places: dict[Path, str] = {}
    for folder in folders:
        known = places.setdefault(Path(folder).resolve(), folder)
        if known != folder or folders.count(folder) > 1:
            raise UserError(f"merge: {known} and {folder} are one folder, so that its runs would count twice; name one")
    studies = [read_study(folder) for folder in folders]
    _refuse_copies(studies)
    if all(one.nothing_finished for one in studies):
        raise UserError(f"merge: {'; '.join(one.nothing_finished for one in studies)}")
    return studies


def read_study(folder: str) -> Study:
    """Return what a folder holds of a study; raises UserError for a folder that holds none."""
    results = Path(folder) / "results"
    summary = _read_summary(folder)
    trainings, evaluations, losses = [], [], []
    for run in summary["run"]:
        place = results / "runs" / run
        trainings.append(_read_record(folder, place / "training.json"))
        evaluations.append(_read_record(folder, place / "evaluation.json"))
        losses.append(_read_losses(folder, place / "nll.parquet"))
    files = {name: results / "baselines" / name / "nll.parquet" for name in sorted(set(summary["precision"]))}
    bases = {name: frame for name, path in files.items() if (frame := _read_losses(folder, path)) is not None}
    return Study(folder, summary, trainings, evaluations, losses, bases)


def _read_summary(folder: str) -> pd.DataFrame:
    """Return a folder's summary, its columns checked."""
    path = Path(folder) / "results/summary.csv"
    if not path.is_file():
        raise UserError(no_study(folder))
    try:
        summary = pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise UserError(f"merge: {path} is no table ({first_line(error)}); {_AGAIN}") from error
    lacking = [name for name in _NEEDED if name not in summary]
    if lacking:
        raise UserError(f"merge: {path} is of an older version, it lacks {', '.join(lacking)}; {_AGAIN}")
    return summary


def _read_record(folder: str, path: Path) -> Any:
    """Return a run's record."""
    try:
        return records.read_json(path)
    except (OSError, json.JSONDecodeError) as error:
        raise _unreadable(folder, path, error) from error


def _read_losses(folder: str, path: Path) -> pd.DataFrame | None:
    """Return the losses that a file has, None where there is no file."""
    try:
        return pd.read_parquet(path) if path.exists() else None
    except (OSError, ValueError) as error:
        raise _unreadable(folder, path, error) from error


def _unreadable(folder: str, path: Path, error: Exception) -> UserError:
    """Return the error for a file beside a summary that is not there, or not whole."""
    why = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read ({first_line(error)})"
    return UserError(f"merge: {path} {why}, though {folder}'s summary has its run; copy the study's results/ whole")


def _refuse_copies(studies: Iterable[Study]) -> None:
    """Raise UserError where two folders hold the record of one and the same training that ended ok."""
    digests = {
        one.folder: {records.digest(record): record for record in one.trainings if record["outcome"]["status"] == "ok"}
        for one in studies
    }
    for (one, records_of_one), (other, records_of_other) in combinations(digests.items(), 2):
        shared = [record["request"]["run"] for key, record in records_of_one.items() if key in records_of_other]
        if shared:
            many = "the same study twice" if len(shared) == len(records_of_one) == len(records_of_other) else "shared"
            raise UserError(
                f"merge: {one} and {other} hold the same records, {shared[0]} and {len(shared) - 1} more ({many}), so "
                f"that they would count twice; name one of the folders"
            )
