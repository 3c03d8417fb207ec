"""Print how far each run of a study is: `python -m frontier.results.status [FOLDER]`, from any terminal or node.

All of it is read from the study's folder: its configuration says which runs there are, their records which have ended,
and the notes beside their logs which are running and which have failed. Neither torch nor pandas is loaded, so that it
answers at once.
"""

import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from frontier import checkpoint_files, job_notes, records
from frontier.errors import UserError, first_line, one_line
from frontier.study import config_files, runs, schema

# Letters that names and states take at the least, so that the lines of two short studies stand alike.
_NARROWEST = 16
_STATE_LETTERS = 10
# Seconds after which it is told that a running job has left no word: several times `job_notes.NOTE_SECONDS`.
_SILENT_SECONDS = 15
# The jobs of a run in the order in which they are done, by the name of their record and log.
_JOBS = ("training", "evaluation", "accuracy")
# How a number of a finished run is told, by its key in an outcome.
_FORMS = {
    "perplexity": "perplexity {:8.3f}",
    "train_seconds": "train {:8.0f} s",
    "peak_memory_gib": "peak {:6.2f} GiB",
}


class Line(NamedTuple):
    """What is known of one run, or of another job that is running: its `state`, and the rest in words."""

    name: str
    state: str
    words: str


def lines(folder: Path) -> list[str]:
    """Return a line for each run of the study in a folder, for each other job that runs, and one on all of them."""
    results = folder / "results"
    of_runs = [_run_line(results / "runs" / name, name) for name in _names(folder)]
    found = [*of_runs, *_other_jobs(results)]
    width = max([_NARROWEST, *(len(line.name) for line in found)])
    shown = [f"{line.name:{width}}  {line.state:{_STATE_LETTERS}}  {line.words}".rstrip() for line in found]
    return [*shown, _in_all(of_runs, results / "runs")]


def _names(folder: Path) -> list[str]:
    """Return the runs of the study's configuration, and those asked for by their file, of which something is known."""
    path = folder / "config/config.yaml"
    if not path.is_file():
        raise UserError(
            f"status: {folder} is no study, it has no config/config.yaml; name a folder that has: make status STUDY=..."
        )
    config_files.check([str(path)])
    try:
        config = yaml.safe_load(path.read_text("utf-8-sig"))
    except yaml.YAMLError as error:
        raise UserError(f"config: {path} is no YAML: {one_line(error)}") from error
    configured = runs.run_names(schema.resolve(config))
    found = {note.parent.name for note in (folder / "results/runs").glob("*/*.json")}
    return [*configured, *sorted(found.difference(configured))]


def _run_line(folder: Path, name: str) -> Line:
    """Return what is known of a run: of the first of its jobs that runs or has failed, else of what has ended."""
    for job in _JOBS:
        log = folder / f"{job}.log"
        if note := job_notes.read_running(log):
            return Line(name, "running", f"{job}, {_progress(note, name)}")
        failed = job_notes.failed_note(log)
        if failed.exists() and not (folder / f"{job}.json").exists():
            return Line(name, "failed", records.read_json(failed)["line"].removeprefix("error: "))
    training, evaluation = _outcome(folder / "training.json"), _outcome(folder / "evaluation.json")
    if training is None:
        return Line(name, "waiting", _checkpoint(folder))
    if evaluation is None and training["status"] == "ok":
        return Line(name, "waiting", f"trained, to be judged; {_measured(training)}")
    ended = training if training["status"] != "ok" or evaluation is None else evaluation
    words = _measured(training | {"perplexity": (evaluation or {}).get("perplexity")})
    reason = ended.get("reason") or "" if ended["status"] != "ok" else ""
    return Line(name, ended["status"], "; ".join(filter(None, [reason, words])))


def _progress(note: job_notes.RunningNote, name: str) -> str:
    """Return how far a running job is, and where."""
    if "step" in note and "steps" in note:
        loss = f"  loss {note['loss']:.3f}" if note.get("loss") is not None else ""
        words = f"step {note['step']}/{note['steps']}{loss}  {note.get('seconds_left', 0):.0f} s left"
    else:
        words = note["line"].removeprefix(name).strip() or f"{note['phase']}, {time.time() - note['started_at']:.0f} s"
    silent = time.time() - note["written_at"]
    return f"{words}  (on {note['host']}{f', no word for {silent:.0f} s' if silent > _SILENT_SECONDS else ''})"


def _checkpoint(folder: Path) -> str:
    """Return from which step a run that was cut off has a checkpoint; empty where it has none."""
    sealed = (
        one
        for one in checkpoint_files.by_step(folder / checkpoint_files.FOLDER)
        if (one / checkpoint_files.MANIFEST).exists()
    )
    newest = next(sealed, None)
    return f"has a checkpoint of step {checkpoint_files.step_of(newest)}" if newest else ""


def _measured(outcome: dict[str, Any]) -> str:
    cells = (form.format(outcome[key]) for key, form in _FORMS.items() if outcome.get(key) is not None)
    return "  ".join(cells)


def _other_jobs(results: Path) -> Iterator[Line]:
    """Yield a line for each running job that is none of a run."""
    for pattern in ("baselines/*/*.log", "logs/*.log"):
        for log in sorted(results.glob(pattern)):
            if note := job_notes.read_running(log):
                name = log.stem if log.parent.name == "logs" else f"{log.parent.name} {log.stem}"
                yield Line(name, "running", _progress(note, log.parent.name))


def _in_all(of_runs: list[Line], folder: Path) -> str:
    """Return how many runs are in which state, and how long the trainings will take still where that can be told."""
    states: dict[str, int] = {"finished": 0, "running": 0, "waiting": 0, "failed": 0}
    left, waiting, took = [], 0, []
    for name, state, _ in of_runs:
        place = folder / name
        states[state if state in states else "finished"] += 1
        outcome, note = _outcome(place / "training.json"), job_notes.read_running(place / "training.log")
        if note:
            left.append(note.get("seconds_left"))
        elif outcome is None and state == "waiting":
            waiting += 1
        elif outcome and outcome["status"] == "ok" and outcome.get("wall_seconds"):
            took.append(outcome["wall_seconds"])
    told = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    count = sum(states.values())
    return f"{count} run{'s' if count != 1 else ''}: {told}{_left(waiting, took, left)}"


def _left(waiting: int, took: list[float], running: list[float | None]) -> str:
    """Return the time until the last training ends, by the median of those that have ended and what each running tells.

    Empty where nothing trains or nothing tells: runs that wait for nobody have no time left.
    """
    if not running or (waiting and not took) or None in running:
        return ""
    seconds = max(one for one in running if one is not None)
    seconds += waiting * (statistics.median(took) if took else 0.0) / len(running)
    return (
        f"; about {seconds / 60:.0f} min of training left" if seconds >= 90 else f"; about {seconds:.0f} s of it left"
    )


def _outcome(path: Path) -> dict[str, Any] | None:
    """Return the outcome in a record; None where there is no record, or one that is just being replaced."""
    try:
        return records.read_json(path)["outcome"]
    except (OSError, ValueError):
        return None


def main(folder: Path) -> None:
    """Print the lines; for what is no study, one line, and exit status 1."""
    try:
        print("\n".join(lines(folder)))
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: status: {first_line(error)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
