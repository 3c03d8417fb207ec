"""One call of Snakemake as the terminal shows it: which jobs begin and end, and how long the runs will take still."""

import csv
import logging
import os
import statistics
import threading
import time
from logging import LogRecord
from pathlib import Path

from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_frontier.jobs import TRAINING, Job, duration, job_of, seconds_left
from snakemake_logger_plugin_frontier.screen import Screen

# Seconds between two looks at the running jobs.
_LOOK_SECONDS = 1.0
# Seconds after which a job that is no run is said to have begun: most have ended by then, in one line.
_LATE_SECONDS = 20
# Seconds before a job's first line of progress where no line can be written anew; each further wait is twice as long.
_LINE_SECONDS = 60
# Events that need no line of their own.
_SILENT = (
    LogEvent.JOB_STARTED,
    LogEvent.PROGRESS,
    LogEvent.RESOURCES_INFO,
    LogEvent.RULEGRAPH,
    LogEvent.SHELLCMD,
    LogEvent.GROUP_INFO,
)
_PLAN = Path("results/plan.csv")


class Sweep:
    """The jobs of a call, and the lines about them on a screen."""

    def __init__(self, screen: Screen):
        self._screen, self._began, self._over = screen, time.monotonic(), threading.Event()
        self._lock = threading.RLock()
        self._running: dict[int, Job] = {}
        self._took: list[float] = []
        self._stats: dict[str, int] = {}
        # By the number that Snakemake gives a job, which it keeps when it is tried again.
        self._numbers: dict[int, int] = {}
        self._begun_runs = self._done = self._failed = self._stopped = 0
        self._was_cancelled = False
        self._log = _snakemake_log()
        self._looker = threading.Thread(target=self._look_on, daemon=True)
        self._looker.start()

    def heed(self, record: LogRecord) -> bool:
        """Take note of a record of Snakemake; return whether it needs no other line than those printed here."""
        event, said = getattr(record, "event", None), record.__dict__
        with self._lock:
            if event == LogEvent.RUN_INFO:
                self._stats = dict(said["stats"])
                if not self._is_only_a_look:
                    self._screen.print(self._plan_in_short())
            elif event == LogEvent.JOB_INFO:
                self._begin(said["jobid"], job_of(record, self._begun_runs))
            elif event == LogEvent.JOB_FINISHED:
                self._finish(said["job_id"])
            elif event == LogEvent.JOB_ERROR:
                self._fail(said["jobid"])
            elif str(record.msg).startswith("Trying to restart job"):
                self._failed -= 1
                self._screen.print("    it is tried again")
            elif str(record.msg).startswith(("Will exit after finishing", "Terminating processes on user request")):
                self._was_cancelled = True
            else:
                return event in _SILENT
            return True

    def has_said(self, text: str) -> bool:
        """Return whether an error of Snakemake is of a job that has failed with a line of its own."""
        return "CalledProcessError in file" in text

    def end(self) -> None:
        """Say what has become of the jobs, unless some were stopped, which each of them has said itself."""
        self._over.set()
        self._looker.join()
        self._screen.clear()
        total = self._stats.get("total", 0)
        if self._is_stopping and not self._stopped:
            self._screen.print(f"stopped, {self._done} of {total} jobs done; the same command goes on")
        elif total and not self._is_stopping and not self._is_only_a_look:
            failed = f", {self._failed} failed" if self._failed else ""
            took = duration(time.monotonic() - self._began)
            self._screen.print(f"{self._done} of {total} jobs done in {took}{failed}; all of it: {self._log}")

    @property
    def _is_stopping(self) -> bool:
        """Whether jobs that end now were stopped, by `frontier.jobs.stopping` or by Snakemake."""
        return self._was_cancelled or "FRONTIER_STOPPING" in os.environ

    @property
    def _is_only_a_look(self) -> bool:
        """Whether the call makes nothing and prints what it was asked for itself."""
        return set(self._stats) == {"status", "total"}

    def _plan_in_short(self) -> str:
        total, runs = self._stats.get("total", 0), self._stats.get(TRAINING, 0)
        jobs = f"{total} job{'s' if total != 1 else ''}"
        return f"{jobs}, {runs} of them runs to train; how far they are: make status" if runs else jobs

    def _begin(self, number: int, job: Job) -> None:
        self._running[number] = job
        if job.number:
            job.number = self._numbers.setdefault(number, job.number)
            self._begun_runs = len(self._numbers)
            self._tell_begin(job)

    def _tell_begin(self, job: Job) -> None:
        job.is_told, job.told_at = True, time.monotonic()
        self._screen.print(f"{self._titled(job)}{self._left_in_all()}" if job.number else f"{job.name} ...")

    def _finish(self, number: int) -> None:
        job = self._running.pop(number, None)
        self._done += 1
        if job:
            if job.rule == TRAINING:
                self._took.append(job.seconds)
            told = job.outcome() or "done"
            if not self._is_only_a_look:
                self._screen.print(f"{job.name}  {told} ({duration(job.seconds)})")

    def _fail(self, number: int) -> None:
        job = self._running.pop(number, None)
        self._failed += 1
        self._stopped += self._is_stopping
        if job and not self._is_stopping:
            log = f"; see {job.log}" if job.log else ""
            self._screen.print(f"{job.name}  failed after {duration(job.seconds)}{log}")

    def _titled(self, job: Job) -> str:
        return f"run {job.number} of {max(self._stats.get(TRAINING, 0), job.number or 0)}: {job.name}"

    def _left_in_all(self) -> str:
        """Return how long the trainings will take still, to stand behind a run's name; empty where nothing tells."""
        running = [job for job in self._running.values() if job.rule == TRAINING]
        waiting = max(0, self._stats.get(TRAINING, 0) - self._begun_runs)
        if not waiting and len(running) == 1:
            # What the run itself tells is all that there is.
            return ""
        left = seconds_left(
            waiting, self._took, [(job.seconds, job.note().get("seconds_left")) for job in running], _planned()
        )
        return "" if left is None else f", about {duration(left)} of training left"

    def _look_on(self) -> None:
        """Show how far the running jobs are, until the call is over."""
        while not self._over.wait(_LOOK_SECONDS):
            with self._lock:
                for job in self._running.values():
                    self._look(job)
                self._screen.show(self._progress())

    def _look(self, job: Job) -> None:
        if not job.is_told and job.seconds > _LATE_SECONDS and not self._screen.is_terminal:
            self._tell_begin(job)
        if time.monotonic() - job.told_at > _LINE_SECONDS * 2**job.progress_lines and not self._screen.is_terminal:
            job.told_at = time.monotonic()
            job.progress_lines += 1
            if line := job.note().get("line"):
                self._screen.print(line + (self._left_in_all() if job.number else ""))

    def _progress(self) -> str:
        """Return the line that is written anew: of the run that began last, else of the job that did."""
        if not self._running:
            return ""
        job = max(self._running.values(), key=lambda one: (one.number or 0, one.began))
        others = f", {len(self._running) - 1} more" if len(self._running) > 1 else ""
        note = job.note()
        if job.number and "step" in note:
            loss = f"  loss {note['loss']:.3f}" if note.get("loss") is not None else ""
            left = f"  {duration(note['seconds_left'])} left"
            words = f"step {note['step']}/{note['steps']}{loss}{left}"
            return f"{self._titled(job)}  {words}{self._left_in_all()}{others}"
        return f"{self._titled(job) if job.number else job.name}  {duration(job.seconds)}{others}"


def _planned() -> float | None:
    """Return the seconds that the plan gives a run that has no result yet, on average; None without a plan."""
    try:
        with open(_PLAN, encoding="utf-8", newline="") as file:
            rows = [
                row for row in csv.DictReader(file) if not Path(f"results/runs/{row['run']}/training.json").exists()
            ]
        return statistics.fmean(3600 * float(row["predicted_hours"]) for row in rows if row["predicted_hours"])
    except (OSError, ValueError, KeyError):
        return None


def _snakemake_log() -> str:
    """Return the file into which Snakemake writes all that it tells, as it is named from here."""
    handlers = logging.getLogger("snakemake.logging").handlers
    files = [handler.baseFilename for handler in handlers if isinstance(handler, logging.FileHandler)]
    return os.path.relpath(files[0]) if files else ".snakemake/log"
