"""The processes of a training that several share: the first starts the others, and all end with any one of them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from frontier import records
from frontier.machine import launch
from frontier.progress import say

# How long after the first end others are waited for: one process's failure is soon every process's.
_GRACE_SECONDS = 1.0


class Team:
    """A training's further processes, `training.follow` each, watched until they end.

    Where one fails, this process ends too, whatever it waits for: with `failed(outcome)`, which writes the record,
    where the other ran out of memory; with the same line or signal elsewhere.
    """

    def __init__(self, job: dict, processes: int, failed):
        self.folder = Path(tempfile.mkdtemp(prefix="lora-frontier-")) if processes > 1 else None
        self.rendezvous = self.folder and self.folder / "rendezvous"
        self._failed, self._over, self._lock = failed, False, threading.Lock()
        self.others = {rank: self._start(job, rank) for rank in range(1, processes)}
        self._watchers = [threading.Thread(target=self._watch, args=[rank], daemon=True) for rank in self.others]
        for watcher in self._watchers:
            watcher.start()

    def finish(self) -> list[dict]:
        """Wait for the others' good ends; their outcomes."""
        for watcher in self._watchers:
            watcher.join()
        results = [self._told(rank)["result"] for rank in self.others]
        self.end()
        return results

    def settle(self) -> None:
        """After an error that another's end may have caused: let that one be told, where it comes within moments."""
        if self.others:
            time.sleep(3 * _GRACE_SECONDS)

    def end(self) -> None:
        """End the others, this process being done or having failed by itself."""
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
        """End this process as well, its record being written: its own shutting down might wait for the others."""
        if self.others:
            os._exit(0)

    def _start(self, job: dict, rank: int) -> subprocess.Popen:
        with open(self._file(rank, "log"), "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "frontier.jobs.worker", "run.train.follow", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=launch.inherited_variables(),
            )
        told = {"index": rank, "rendezvous": str(self.rendezvous), "told": str(self._file(rank, "json"))}
        process.stdin.write(json.dumps(job | told).encode())
        process.stdin.close()
        return process

    def _watch(self, rank: int) -> None:
        self.others[rank].wait()
        if "result" in self._told(rank):
            return
        time.sleep(_GRACE_SECONDS)
        with self._lock:
            if not self._over:
                self._over = True
                self._end_likewise()

    def _end_likewise(self) -> None:
        """End this process as the first of the others ended: one that knows why, or that was ended from outside."""
        told = {rank: self._told(rank) for rank in self.others}
        statuses = {rank: process.poll() for rank, process in self.others.items()}
        ended = [rank for rank, status in statuses.items() if status is not None and "result" not in told[rank]]
        first = min(ended, key=lambda rank: (not told[rank], statuses[rank] >= 0))
        for process in self.others.values():
            process.kill()
        last_line = self._copy_logs().get(first, "")
        shutil.rmtree(self.folder, ignore_errors=True)
        name = f"process {first + 1} of {len(self.others) + 1}"
        if "outcome" in told[first]:
            self._failed(told[first]["outcome"])
            os._exit(0)
        if "error" in told[first]:
            say(f"error: {told[first]['error']}")
            os._exit(2)
        if statuses[first] < 0:
            print(f"{name} was ended by {signal.Signals(-statuses[first]).name}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), -statuses[first])
        print(f"{name}: {last_line}", file=sys.stderr, flush=True)
        os._exit(1)

    def _told(self, rank: int) -> dict:
        """What a process has left for this one: its `result`, or the `outcome` or `error` that ended it."""
        told = self._file(rank, "json")
        return records.read_json(told) if told.exists() else {}

    def _copy_logs(self) -> dict[int, str]:
        """Put the others' logs into this process's own; the last line of each."""
        last = {}
        for rank in self.others:
            if text := self._file(rank, "log").read_text("utf-8", "replace").strip():
                print(f"process {rank + 1}:\n{text}", file=sys.stderr, flush=True)
                last[rank] = text.splitlines()[-1]
        return last

    def _file(self, rank: int, suffix: str) -> Path:
        return self.folder / f"process-{rank}.{suffix}"
