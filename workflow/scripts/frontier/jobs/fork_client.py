"""Have a Snakemake's server (`frontier/jobs/fork_server.py`) fork a worker, and start it where there is none."""

import fcntl
import importlib
import importlib.util
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from frontier.jobs import device_locks
from frontier.machine import heap
from frontier.machine.preload import KERNELS

# The modules whose jobs import torch.
MODULES = (
    "frontier.model.prepare",
    "frontier.run.prove",
    "frontier.run.train",
    "frontier.run.perplexity",
    "frontier.run.accuracy",
    "frontier.plan.calibration",
    "frontier.plan.table",
)
# What a server sends once it is free to take a request.
ACCEPTED = b"accepted"
# Seconds that a server has for each answer; at its start it imports torch before the first.
_ANSWER_SECONDS = 180


def modules_of_cuda() -> tuple[str, ...]:
    """Return the modules that jobs on a CUDA device import: MODULES, and the fused kernels where they are installed."""
    return MODULES + ((KERNELS,) if importlib.util.find_spec("liger_kernel") else ())


def is_worth_it(function: str, snakemake: psutil.Process | None) -> bool:
    """Return whether a job imports what a server has imported, and is not the only job that its Snakemake is to run."""
    return (
        hasattr(os, "pidfd_open")
        and f"frontier.{function.rpartition('.')[0]}" in MODULES
        and snakemake is not None
        and "--target-jobs" not in snakemake.cmdline()
    )


class Forked:
    """A worker that Snakemake's server has forked, with what its supervisor knows of `subprocess.Popen`.

    `files` are the worker's standard input, output and error, its pipe of events, and whatever else it is to hold open.
    Where the server forks no worker, raises OSError. Nothing of the job has happened then, since a worker reads the job
    from its standard input.
    """

    def __init__(self, function: str, variables: dict[str, str], files: list[int], snakemake: psutil.Process):
        self.returncode: int | None = None
        request = {"function": function, "environment": variables, "folder": os.getcwd()}
        with io.FileIO(os.pidfd_open(snakemake.pid)) as owner:
            self._server = _connect(owner, snakemake, variables)
            self._server.setblocking(False)
            # A server that is stuck would hold open whatever descriptors it was sent, so it is asked first.
            awaited: list[Any] = [self._server, owner]
            select.select(awaited, [], [], _ANSWER_SECONDS)
            if self._server.recv(32) != ACCEPTED:
                raise ConnectionResetError("the server took no request")
            socket.send_fds(self._server, [json.dumps(request).encode()], files)
            select.select(awaited, [], [], _ANSWER_SECONDS)
        pid, process, *_ = socket.recv_fds(self._server, 32, 1)
        self._server.setblocking(True)
        if not process:
            raise ConnectionResetError("the server forked no worker")
        self.pid, self._process = int(pid), process[0]

    def poll(self) -> int | None:
        """Return the exit status, or None while the worker runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the worker's end and return its exit status, negative for a signal.

        Where the server has ended, its workers have too, by SIGKILL. Raises TimeoutExpired after `timeout` seconds.
        """
        if self.returncode is None:
            if not select.select([self._server], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("frontier.worker", timeout or 0.0)
            status = self._server.recv(32)
            if not status:
                self.kill()
                select.select([self._process], [], [])
            self.returncode = os.waitstatus_to_exitcode(int(status or signal.SIGKILL))
        return self.returncode

    def kill(self) -> None:
        """End the worker."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)


def _connect(owner: io.FileIO, snakemake: psutil.Process, variables: dict[str, str]) -> socket.socket:
    """Return a connection to the server of a Snakemake, and start the server where there is none.

    `owner` is a descriptor of the Snakemake's process, `variables` are the environment of a job.
    """
    folder = device_locks.private_folder()
    # The C library reads its settings when a process starts, and forks have those: each setting has its own server.
    heaps = zlib.crc32(variables.get(heap.VARIABLE, "").encode())
    name = f"{snakemake.pid}-{snakemake.create_time():.2f}-{heaps:08x}.socket"
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with open(folder / "server.lock", "w") as lock, _opened(folder) as number:
        # The path of a socket has at most 108 characters, and that of the folder alone can be longer.
        address = f"/proc/self/fd/{number}/{name}"
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            server.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            (folder / name).unlink(missing_ok=True)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                listener.bind(address)
                listener.listen()
                _start(listener, owner, folder / name, variables)
            server.connect(address)
    return server


@contextmanager
def _opened(folder: Path):
    """Yield a folder's descriptor, which is open while the block runs."""
    number = os.open(folder, os.O_PATH)
    try:
        yield number
    finally:
        os.close(number)


def _start(listener: socket.socket, owner: io.FileIO, path: Path, variables: dict[str, str]) -> None:
    """Start a server on a listening socket, which lies at `path`; it ends with the owner."""
    descriptors = [listener.fileno(), owner.fileno()]
    # The server outlives this process, so it must not hold open an output whose end somebody waits for.
    subprocess.Popen(
        [sys.executable, "-m", "frontier.jobs.fork_server", *map(str, descriptors), str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=variables,
        pass_fds=descriptors,
        start_new_session=True,
    )
