"""Have the server of a call of Snakemake (`jobs/fork_server.py`) fork a worker; start the server if there is none."""

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
    "frontier.run.shipping.exports",
    "frontier.run.shipping.measure",
    "frontier.run.shipping.artefacts",
    "frontier.plan.asking",
    "frontier.plan.calibration",
    "frontier.plan.table",
)
# What the server sends as soon as it can take a request.
ACCEPTED = b"accepted"
# Seconds to wait for each answer of the server; before its first it imports torch.
_ANSWER_SECONDS = 180


def modules_of_cuda() -> tuple[str, ...]:
    """Return the modules that jobs on a CUDA device import: MODULES, and the fused kernels where they are installed."""
    return MODULES + ((KERNELS,) if importlib.util.find_spec("liger_kernel") else ())


def is_worth_it(function: str, snakemake: psutil.Process | None) -> bool:
    """Return whether a fork spares a job's imports: it needs torch, and its Snakemake may run other jobs, on Linux."""
    return (
        hasattr(os, "pidfd_open")
        and f"frontier.{function.rpartition('.')[0]}" in MODULES
        and snakemake is not None
        and "--target-jobs" not in snakemake.cmdline()
    )


class Forked:
    """A worker that the server has forked, with those methods of `subprocess.Popen` that its supervisor uses.

    `files` are the worker's standard input, output and error, its pipe of events, and whatever else it is to hold open.
    Raises OSError where the server forks no worker. The job has not begun then, since a worker reads it from its
    standard input, and the caller can start a new process for it.
    """

    def __init__(self, function: str, variables: dict[str, str], files: list[int], snakemake: psutil.Process):
        self.returncode: int | None = None
        request = {"function": function, "environment": variables, "folder": os.getcwd()}
        with io.FileIO(os.pidfd_open(snakemake.pid)) as owner:
            self._server = _connect(owner, snakemake, variables)
            self._server.setblocking(False)
            # The server says that it takes requests before it is sent descriptors: one that is stuck would hold those
            # open.
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

        If the server has ended, its workers have been ended with it, by SIGKILL. Raises TimeoutExpired after `timeout`
        seconds.
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
    """Return a connection to the server of a call of Snakemake; start the server if there is none.

    `owner` is a descriptor of Snakemake's process, `variables` are the environment of a job.
    """
    folder = device_locks.private_folder()
    # The C library reads its settings when a process starts, and a fork keeps them. So each setting has a server.
    heaps = zlib.crc32(variables.get(heap.VARIABLE, "").encode())
    name = f"{snakemake.pid}-{snakemake.create_time():.2f}-{heaps:08x}.socket"
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with open(folder / "server.lock", "w") as lock, _opened(folder) as number:
        # A socket's path may have 108 characters at most, and the folder's can be longer: so it is named by a
        # descriptor.
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
    """Start a server on a listening socket, whose file is `path`; the server ends when the owner does."""
    descriptors = [listener.fileno(), owner.fileno()]
    # The server outlives this process. If it held this process's output open, readers of that would wait for the
    # server.
    subprocess.Popen(
        [sys.executable, "-m", "frontier.jobs.fork_server", *map(str, descriptors), str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=variables,
        pass_fds=descriptors,
        start_new_session=True,
    )
