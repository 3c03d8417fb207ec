"""What is known of a job on the terminal: its name, how far it is, and how it has ended."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from logging import LogRecord
from pathlib import Path

# The rule whose jobs are the study's runs.
TRAINING = "train_adapter"
# Files of outputs that are a job's record of its end (`frontier.outcomes`).
_RECORDS = ("training.json", "evaluation.json", "accuracy.json")


@dataclass
class Job:
    """A job that has begun; `number` counts the runs, and is None for any other job."""

    rule: str
    wildcards: str
    outputs: list[Path]
    log: Path | None
    number: int | None = None
    began: float = field(default_factory=time.monotonic)
    # Whether its first line was printed, when its last, and how many of its progress.
    is_told: bool = False
    told_at: float = field(default_factory=time.monotonic)
    progress_lines: int = 0

    @property
    def name(self) -> str:
        """The run's name; of any other job the rule, with what it is for."""
        return self.wildcards if self.rule == TRAINING else f"{self.rule} {self.wildcards}".strip()

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    def note(self) -> dict:
        """Return what its supervisor has left beside its log (`frontier.job_notes`); empty where there is none."""
        return (_read(self.log.with_suffix(".running.json")) if self.log else None) or {}

    def outcome(self) -> str:
        """Return what its record says of its end, in a line; empty for a job without a record."""
        place = next((path for path in self.outputs if path.name in _RECORDS), None)
        record = (_read(place) if place else None) or {}
        return _told(record["outcome"]) if "outcome" in record else ""


def job_of(record: LogRecord, runs_before: int) -> Job:
    """Return the job that Snakemake's record says begins; `runs_before` are the runs that have begun already."""
    said = record.__dict__
    return Job(
        rule=said["rule_name"],
        wildcards=" ".join(map(str, dict(said["wildcards"] or {}).values())),
        outputs=[*map(Path, said["output"])],
        log=Path(said["log"][0]) if said["log"] else None,
        number=runs_before + 1 if said["rule_name"] == TRAINING else None,
    )


def duration(seconds: float) -> str:
    """Return seconds as people say them, say 41 min or 2 h 05 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def seconds_left(
    waiting: int, done: Iterable[float], running: Iterable[tuple[float, float | None]], planned: float | None
) -> float | None:
    """Return the seconds until all trainings have ended, or None where nothing tells.

    `waiting` trainings have not begun, `done` has the seconds that each finished one took, `running` those that each
    running one has taken and is expected to take still, None where that is not known. Runs that have ended count before
    the plan, which gives the `planned` seconds of one run, and the plan before what a running one expects.
    """
    took, now = sorted(done), list(running)
    expected = [spent + left for spent, left in now if left is not None]
    typical = took[len(took) // 2] if took else planned or next(iter(expected), None)
    if typical is None:
        return None if waiting or now else 0.0
    left = [max(0.0, typical - spent) if left is None else left for spent, left in now]
    return max(left, default=0.0) + waiting * typical / max(1, len(now))


def _told(outcome: dict) -> str:
    if outcome["status"] != "ok":
        return f"{outcome['status']}: {outcome.get('reason')}"
    forms = (
        ("train_seconds", "{:.0f} s of steps"),
        ("final_train_loss", "loss {:.3f}"),
        ("peak_memory_gib", "peak {:.2f} GiB"),
        ("perplexity", "perplexity {:.3f}"),
        ("flexible", "{:.1%} right"),
    )
    return ", ".join(form.format(outcome[key]) for key, form in forms if outcome.get(key) is not None)


def _read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
