"""A job's process: started, given its job, watched, read from and ended."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

from frontier import progress, units
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
# Seconds between two looks at a process.
WATCH_SECONDS = 0.5


class Child:
    """A job's process, and what it has told so far."""

    def __init__(self, function: str, job: Job, log, device: device_locks.Claim | None = None):
        self.function, self.log = function, Path(log.name)
        self.phase, self.most_gib, self.last_line = "import", 0.0, ""
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
        # A process that has ended already, by the kernel's hand say, reads no job, and its exit status tells the rest.
        with suppress(BrokenPipeError), os.fdopen(told, "w") as pipe:
            json.dump(job, pipe)

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        return self.process.returncode

    def watch(self) -> bool:
        """Wait for the process's end and return whether it hung: showed no sign of life for long, and was ended for it.

        A sign of life of what it waits for (a download, a planner, a training's other processes) is one of its own.
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
            if now != signs:
                alive_at, signs = time.monotonic(), now
            elif time.monotonic() - alive_at > STALL_SECONDS:
                self.kill()
                return True
            # Waiting sees the end at once, where sleeping would not, and the next job cannot start before.
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(WATCH_SECONDS)
        # What the process has started may still hold its output, and the readers read until nobody holds that.
        self.kill()
        for reader in self._readers:
            reader.join()
        return False

    def kill(self) -> None:
        """End the process and all that it has started: the group of the session that it leads."""
        # macOS forbids to end a group of which nothing but zombies is left.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.poll() is None:
            # A process that was forked this moment does not lead its session yet.
            self.process.kill()
            self.process.wait()

    def last_error(self) -> str:
        """Return the exception of the log's last traceback, after a colon, or its last line where it has none.

        What the process printed before it may come into the log after it. Nothing where the process was killed.
        """
        lines = [line.rstrip() for line in self.log.read_text("utf-8", "replace").splitlines() if line.strip()]
        tracebacks = [at for at, line in enumerate(lines, 1) if line == "Traceback (most recent call last):"]
        after = lines[tracebacks[-1] :] if tracebacks else [line.strip() for line in lines[-1:]]
        told = next((line for line in after if not line.startswith(" ")), "")
        return f": {told}" if self.status == 1 and told else ""

    def _look(self) -> dict[int, tuple | None]:
        """Return the signs of life of the process and all that it has started, and note how much memory it holds."""
        process = psutil.Process(self.process.pid)
        # The most, since what the kernel ends holds nothing any more while it is taken apart.
        self.most_gib = max(self.most_gib, process.memory_info().rss / units.GIB)
        return {one.pid: signs_of_life(one) for one in [process, *process.children(recursive=True)]}

    def _read_lines(self, pipe, log) -> None:
        """Put each line that the process prints into the log and before whoever watches."""
        for line in pipe:
            log.write(line)
            log.flush()
            self.last_line = line.rstrip()
            tell(self.last_line)

    def _read_events(self, pipe) -> None:
        """Note what the process tells of itself, for a record that it may not live to write."""
        for line in pipe:
            facts = json.loads(line)
            self.phase = facts.get("phase", self.phase)
            self.environment = facts.get("environment", self.environment)
            self.material = facts.get("material", self.material)


def _text(pipe: int):
    """Open a pipe from a worker, which writes UTF-8 whatever this process's locale is."""
    return os.fdopen(pipe, encoding="utf-8", errors="replace")


def start(function: str, variables: dict[str, str], files: list[int]) -> subprocess.Popen | Forked:
    """Start a worker in a session of its own: a fork of Snakemake's server where that spares imports, or a new process.

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


def tell(line: str) -> None:
    """Show a line to whoever watches; where the terminal is gone nobody does, and the job goes on."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
