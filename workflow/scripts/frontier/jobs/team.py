"""The processes that share a training: the first starts the others, and if one fails, all are ended."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from frontier import records
from frontier.machine import launch
from frontier.outcome_types import TrainingOutcome
from frontier.progress import say
from frontier.request_types import Job, TrainingRequest

# Seconds between the first failure and the search for its cause: by then the others that fail of it have failed too.
_GRACE_SECONDS = 1.0


class Team:
    """A training's further processes, each of which runs `run.train.follow`, watched until they end.

    Each process has an index; this one is the first, with index 0. If another fails, this process is ended too, even
    while it waits for something. Where the other ended with an outcome, such as out of memory, `failed(outcome)` is
    called before, which writes the record; else this process ends with the other's line or signal.
    """

    def __init__(self, job: Job[TrainingRequest], processes: int, failed: Callable[[TrainingOutcome], None]):
        self.folder = Path(tempfile.mkdtemp(prefix="lora-frontier-")) if processes > 1 else None
        self.rendezvous = self.folder and self.folder / "rendezvous"
        self._failed, self._over, self._lock = failed, False, threading.Lock()
        self.others = {index: self._start(job, index) for index in range(1, processes)}
        self._watchers = [threading.Thread(target=self._watch, args=[index], daemon=True) for index in self.others]
        for watcher in self._watchers:
            watcher.start()

    def finish(self) -> list[TrainingOutcome]:
        """Wait until the others have ended well, and return the result of each."""
        for watcher in self._watchers:
            watcher.join()
        results = [self._told(index)["result"] for index in self.others]
        self.end()
        return results

    def settle(self) -> None:
        """Wait a little after an error: if another process's failure has caused it, that failure is told instead."""
        if self.others:
            time.sleep(3 * _GRACE_SECONDS)

    def end(self) -> None:
        """End the other processes, when this one is done or has failed by itself."""
        with self._lock:
            self._over = True
        for process in self.others.values():
            process.kill()
            process.wait()
        if self.folder:
            self._copy_logs()
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def leave(self) -> None:
        """End this process at once, when its record is written: an orderly exit might wait for the others."""
        if self.others:
            os._exit(0)

    def _start(self, job: Job[TrainingRequest], index: int) -> subprocess.Popen:
        """Start the process of an index, and give it its job."""
        with open(self._file(index, "log"), "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "frontier.jobs.worker", "run.train.follow", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=launch.inherited_variables(),
            )
        share = {"index": index, "rendezvous": str(self.rendezvous), "told": str(self._file(index, "json"))}
        with cast(IO[bytes], process.stdin) as pipe:
            pipe.write(json.dumps(job | share).encode())
        return process

    def _watch(self, index: int) -> None:
        """Wait for one process to end; if it is the first to fail, end this process likewise."""
        self.others[index].wait()
        if "result" in self._told(index):
            return
        time.sleep(_GRACE_SECONDS)
        with self._lock:
            if not self._over:
                self._over = True
                self._end_likewise()

    def _end_likewise(self) -> None:
        """End this process in the way in which that other one ended whose failure caused the rest."""
        told = {index: self._told(index) for index in self.others}
        statuses = {index: process.poll() for index, process in self.others.items()}
        cause = first_to_fail(told, statuses)
        for process in self.others.values():
            process.kill()
        last_line = self._copy_logs().get(cause, "")
        shutil.rmtree(cast(Path, self.folder), ignore_errors=True)
        name = f"process {cause + 1} of {len(self.others) + 1}"
        if "outcome" in told[cause]:
            self._failed(told[cause]["outcome"])
            os._exit(0)
        if "error" in told[cause]:
            say(f"error: {told[cause]['error']}")
            os._exit(2)
        status = statuses[cause] or 0
        if status < 0:
            print(f"{name} was ended by {signal.Signals(-status).name}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), -status)
        print(f"{name}: {last_line}", file=sys.stderr, flush=True)
        os._exit(1)

    def _told(self, index: int) -> dict[str, Any]:
        """Return what a process has left for this one: its `result`, or the `outcome` or `error` that ended it."""
        file = self._file(index, "json")
        return records.read_json(file) if file.exists() else {}

    def _copy_logs(self) -> dict[int, str]:
        """Copy the other processes' logs into this one's, and return the last line of each."""
        last = {}
        for index in self.others:
            if text := self._file(index, "log").read_text("utf-8", "replace").strip():
                print(f"process {index + 1}:\n{text}", file=sys.stderr, flush=True)
                last[index] = text.splitlines()[-1]
        return last

    def _file(self, index: int, suffix: str) -> Path:
        """Return the file in which a process leaves its log, or what it tells the first."""
        return cast(Path, self.folder) / f"process-{index}.{suffix}"


def first_to_fail(told: dict[int, dict], statuses: dict[int, int | None]) -> int:
    """Return the index of the process whose failure most likely caused the others'.

    That is one that has told why it failed (`told`, by index); if none has, one that a signal ended; else any that has
    failed. `statuses` has the exit status of each, None for one that still runs.
    """
    ended = {index: status for index, status in statuses.items() if status is not None and "result" not in told[index]}
    return min(ended, key=lambda index: (not told[index], ended[index] >= 0))
