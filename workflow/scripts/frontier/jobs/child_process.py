"""A job's process: started, fed, read from and ended."""

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

STALL_SECONDS = 180
WATCH_SECONDS = 0.5


class Child:
    """A job's process, and what it has told so far."""

    def __init__(self, function: str, job: dict, log, device: device_locks.Claim | None = None):
        (stdin, told), (lines, stdout), (events, telling) = os.pipe(), os.pipe(), os.pipe()
        files = [stdin, stdout, log.fileno(), telling, *(device.locks if device else [])]
        self.process = start(function, launch.job_variables(job["request"], device), files)
        for file in (stdin, stdout, telling):
            os.close(file)
        self.phase, self.most_gib, self.last_line = "import", 0.0, ""
        self.environment = self.material = None
        self._readers = [
            threading.Thread(target=self._read_lines, args=[os.fdopen(lines), log], daemon=True),
            threading.Thread(target=self._read_events, args=[os.fdopen(events)], daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        # One that has ended by now, by the kernel say, has a status to tell of it.
        with suppress(BrokenPipeError), os.fdopen(told, "w") as pipe:
            json.dump(job, pipe)

    @property
    def status(self) -> int | None:
        return self.process.returncode

    def watch(self) -> bool:
        """Wait for the end; True where the process showed no sign of life and was ended. Ends with Snakemake.

        What it waits for (a download, a planner, a training's other processes) is alive for it.
        """
        snakemake = snakemake_ancestor()
        alive_at, signs = time.monotonic(), None
        while self.process.poll() is None:
            end_with(snakemake)
            try:
                process = psutil.Process(self.process.pid)
                # The last would be 0: one that the kernel kills holds nothing while it is taken apart.
                self.most_gib = max(self.most_gib, process.memory_info().rss / units.GIB)
                now = {one.pid: signs_of_life(one) for one in [process, *process.children(recursive=True)]}
            except psutil.Error:
                continue
            if now != signs:
                alive_at, signs = time.monotonic(), now
            elif time.monotonic() - alive_at > STALL_SECONDS:
                self.kill()
                return True
            # Not asleep: the next job waits for this one's end.
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(WATCH_SECONDS)
        # What it has started may still hold its output, whose end the readers wait for.
        self.kill()
        for reader in self._readers:
            reader.join()
        return False

    def kill(self) -> None:
        """End the process and with it all that it has started: they are the group of the session that it leads."""
        # macOS forbids it where all of them are zombies.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.poll() is None:
            # One just forked does not lead its session yet.
            self.process.kill()
            self.process.wait()

    def last_error(self, log: Path) -> str:
        """The last line of a traceback in the log, to say in one line what its many say."""
        lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        return f": {lines[-1]}" if self.status == 1 and lines else ""

    def _read_lines(self, pipe, log) -> None:
        for line in pipe:
            log.write(line)
            log.flush()
            self.last_line = line.rstrip()
            tell(self.last_line)

    def _read_events(self, pipe) -> None:
        for line in pipe:
            facts = json.loads(line)
            self.phase = facts.get("phase", self.phase)
            self.environment = facts.get("environment", self.environment)
            self.material = facts.get("material", self.material)


def start(function: str, variables: dict, files: list[int]) -> subprocess.Popen | Forked:
    """A worker in a session of its own: forked where that spares imports, else a new process.

    `files` are its standard input, output and error, its events' pipe, and what else it is to hold.
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
    """Show a line to whoever watches; where the terminal is gone, nobody does, and the job goes on."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
