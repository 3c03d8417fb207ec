"""A job's process: started, given its job, watched, read from and ended."""

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import psutil

from frontier import job_notes, progress, units
from frontier.errors import UserError
from frontier.jobs import device_locks, fork_client
from frontier.jobs.fork_client import Forked
from frontier.jobs.watch import end_with, signs_of_life, snakemake_ancestor
from frontier.machine import launch
from frontier.material_types import Material
from frontier.record_types import Environment
from frontier.request_types import Job

# Seconds without a sign of life after which a process is taken to hang.
STALL_SECONDS = 180
# What a job tells of how far it is, for the note of a running job.
_PROGRESS = ("step", "steps", "loss", "seconds_left")
# Seconds between two looks at a process.
WATCH_SECONDS = 0.5


class Child:
    """A job's process, and what it has told so far."""

    def __init__(self, function: str, job: Job, log, device: device_locks.Claim | None = None):
        self.function, self.log = function, Path(log.name)
        self.phase, self.most_gib, self.last_line = "import", 0.0, ""
        self.started_at, self._noted_at = time.time(), 0.0
        self._progress: dict[str, Any] = {}
        self.environment: Environment | None = None
        self.material: Material | None = None
        (stdin, told), (lines, stdout), (events, telling) = os.pipe(), os.pipe(), os.pipe()
        files = [stdin, stdout, log.fileno(), telling, *(device.locks if device else [])]
        self.process = start(function, launch.job_variables(job["request"], device), files)
        for file in (stdin, stdout, telling):
            os.close(file)
        self._readers = [
            threading.Thread(target=self._read_lines, args=[_text(lines), log], daemon=True),
            threading.Thread(target=self._read_events, args=[_text(events)], daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        # A process that has died at once does not read its job, which breaks the pipe; its exit status is looked at
        # later.
        with suppress(BrokenPipeError), os.fdopen(told, "w") as pipe:
            json.dump(job, pipe)

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        return self.process.returncode

    def watch(self) -> bool:
        """Wait for the process's end; return whether it hung and was ended, after STALL_SECONDS without a sign of life.

        Signs of life of the processes that it has started (a download, a planner, a training's other processes) count.
        Where Snakemake is gone, this process exits.
        """
        snakemake = snakemake_ancestor()
        alive_at, signs = time.monotonic(), None
        while self.process.poll() is None:
            end_with(snakemake)
            try:
                now = self._look()
            except psutil.Error:
                continue
            self._note()
            if now != signs:
                alive_at, signs = time.monotonic(), now
            elif time.monotonic() - alive_at > STALL_SECONDS:
                self.kill()
                return True
            # A wait, not a sleep: it returns as soon as the process ends, and the next job starts only then.
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(WATCH_SECONDS)
        # A process that it has started may still hold the pipes open, and the readers read until nobody does: so the
        # whole group is ended.
        self.kill()
        for reader in self._readers:
            reader.join()
        return False

    def kill(self) -> None:
        """End the process and all that it has started: the group of the session that it leads."""
        # macOS refuses to signal a group in which all processes have ended already.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.poll() is None:
            # A process that was forked just now may not lead its session yet, so there was no such group.
            self.process.kill()
            self.process.wait()

    def last_error(self) -> str:
        """Return ": " and the exception of the log's last traceback, or the log's last line if there is no traceback.

        The exception need not be the last line: what the process had printed before it may reach the log after it.
        Where the process was killed, the result is empty.
        """
        lines = [line.rstrip() for line in self.log.read_text("utf-8", "replace").splitlines() if line.strip()]
        tracebacks = [at for at, line in enumerate(lines, 1) if line == "Traceback (most recent call last):"]
        after = lines[tracebacks[-1] :] if tracebacks else [line.strip() for line in lines[-1:]]
        told = next((line for line in after if not line.startswith(" ")), "")
        return f": {told}" if self.status == 1 and told else ""

    def forget(self) -> None:
        """Delete the note of a running job, since this one has ended."""
        with suppress(OSError):
            job_notes.running_note(self.log).unlink(missing_ok=True)

    def _note(self) -> None:
        """Leave word of how far the job is; if the disk does not take it, the job goes on without."""
        if time.time() - self._noted_at < job_notes.NOTE_SECONDS:
            return
        self._noted_at = time.time()
        note = {"host": platform.node(), "started_at": self.started_at, "written_at": self._noted_at}
        note |= {"line": self.last_line, "phase": self.phase} | self._progress
        with suppress(OSError):
            job_notes.write_running(self.log, cast(job_notes.RunningNote, note))

    def _look(self) -> dict[int, tuple | None]:
        """Return the signs of life of the process and all that it has started, and note how much memory it holds."""
        process = psutil.Process(self.process.pid)
        # The most so far: a process that the kernel is ending has given its memory back already.
        self.most_gib = max(self.most_gib, process.memory_info().rss / units.GIB)
        return {one.pid: signs_of_life(one) for one in [process, *process.children(recursive=True)]}

    def _read_lines(self, pipe, log) -> None:
        """Write each line that the process prints into the log, and show it on the terminal."""
        for written in pipe:
            line, passing = progress.received(written)
            log.write(line)
            log.flush()
            self.last_line = line.rstrip()
            tell(self.last_line, passing)

    def _read_events(self, pipe) -> None:
        """Keep what the process tells of itself, for the record that is written for it if it is killed."""
        for line in pipe:
            facts = json.loads(line)
            self.phase = facts.get("phase", self.phase)
            self.environment = facts.get("environment", self.environment)
            self.material = facts.get("material", self.material)
            self._progress |= {key: facts[key] for key in _PROGRESS if key in facts}


def _text(pipe: int):
    """Open a pipe from a worker, which writes UTF-8 whatever this process's locale is."""
    return os.fdopen(pipe, encoding="utf-8", errors="replace")


def start(function: str, variables: dict[str, str], files: list[int]) -> subprocess.Popen | Forked:
    """Start a worker in a session of its own: a fork of the server where that spares imports, else a new process.

    `files` are its standard input, output and error, its pipe of events, and whatever else it is to hold open.
    """
    snakemake = snakemake_ancestor()
    with suppress(OSError, UserError, psutil.Error):
        if fork_client.is_worth_it(function, snakemake):
            return Forked(function, variables, files, snakemake)
    return subprocess.Popen(
        [sys.executable, "-m", "frontier.jobs.worker", function, str(os.getpid())],
        stdin=files[0],
        stdout=files[1],
        stderr=files[2],
        env=variables | {progress.EVENTS: str(files[3]), progress.START: "spawned"},
        pass_fds=files[3:],
        start_new_session=True,
    )


def tell(line: str, passing: bool = False) -> None:
    """Show a line on the terminal; if the terminal is gone, the job goes on without.

    Where something else shows progress, a `passing` line is left to that, and any other takes the place of its line.
    """
    if passing and os.environ.get(progress.TERMINAL):
        return
    clear_line()
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def clear_line() -> None:
    """Take a line away that something else writes anew again and again, where there is one."""
    if os.environ.get(progress.TERMINAL) == progress.IN_PLACE:
        with suppress(OSError):
            print("\r\033[K", end="", file=sys.stderr, flush=True)
