"""A worker that a Snakemake's server has forked (`frontier/jobs/fork_server.py`), and how it comes about."""

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

import psutil

from frontier.jobs import device_locks
from frontier.machine import heap
from frontier.machine.preload import KERNELS

# The modules whose jobs import torch.
MODULES = (
    "frontier.model.prepare",
    "frontier.run.train",
    "frontier.run.perplexity",
    "frontier.run.accuracy",
    "frontier.plan.calibration",
    "frontier.plan.table",
)


def modules_of_cuda() -> tuple[str, ...]:
    """Those that jobs on a CUDA device import: the fused kernels' as well, where they are installed."""
    return MODULES + ((KERNELS,) if importlib.util.find_spec("liger_kernel") else ())


_SECONDS = 180
ACCEPTED = b"accepted"


def is_worth_it(function: str, snakemake: psutil.Process | None) -> bool:
    """Whether a job imports what a server has imported, and is not the one job that its Snakemake was started for."""
    return (
        hasattr(os, "pidfd_open")
        and f"frontier.{function.rpartition('.')[0]}" in MODULES
        and snakemake is not None
        and "--target-jobs" not in snakemake.cmdline()
    )


class Forked:
    """The worker, with what its supervisor knows of `subprocess.Popen`.

    `files` are its standard input, output and error, its events' pipe, and what else it is to hold. Where the server
    forks none, raises OSError; nothing of the job has happened then, for it is read from standard input.
    """

    def __init__(self, function: str, variables: dict, files: list[int], snakemake: psutil.Process):
        self.returncode: int | None = None
        request = {"function": function, "environment": variables, "folder": os.getcwd()}
        with io.FileIO(os.pidfd_open(snakemake.pid)) as owner:
            self._server = _connect(owner, snakemake, variables)
            self._server.setblocking(False)
            # Descriptors sent to a server that is stuck would stay open there.
            select.select([self._server, owner], [], [], _SECONDS)
            if self._server.recv(32) != ACCEPTED:
                raise ConnectionResetError("the server took no request")
            socket.send_fds(self._server, [json.dumps(request).encode()], files)
            select.select([self._server, owner], [], [], _SECONDS)
        pid, process, *_ = socket.recv_fds(self._server, 32, 1)
        self._server.setblocking(True)
        if not process:
            raise ConnectionResetError("the server forked no worker")
        self.pid, self._process = int(pid), process[0]

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, negative for a signal. With the server its workers end, by SIGKILL.

        Raises TimeoutExpired where there is none after so many seconds.
        """
        if self.returncode is None:
            if not select.select([self._server], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("frontier.worker", timeout)
            status = self._server.recv(32)
            if not status:
                self.kill()
                select.select([self._process], [], [])
            self.returncode = os.waitstatus_to_exitcode(int(status or signal.SIGKILL))
        return self.returncode

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)


def _connect(owner: io.FileIO, snakemake: psutil.Process, variables: dict) -> socket.socket:
    """A connection to the server of a Snakemake, which is started where there is none."""
    folder = device_locks.private_folder()
    # What the C library is told when a process starts, all its forks have.
    heaps = zlib.crc32(variables.get(heap.VARIABLE, "").encode())
    name = f"{snakemake.pid}-{snakemake.create_time():.2f}-{heaps:08x}.socket"
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with open(folder / "server.lock", "w") as lock, _opened(folder) as number:
        # A socket's path has 108 characters at most, and a folder of its own can be longer.
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
    """The folder's descriptor while the block runs."""
    number = os.open(folder, os.O_PATH)
    try:
        yield number
    finally:
        os.close(number)


def _start(listener: socket.socket, owner: io.FileIO, path: Path, variables: dict) -> None:
    descriptors = [listener.fileno(), owner.fileno()]
    # It outlives this process, and whoever waits for the end of this process's output must not wait for it.
    subprocess.Popen(
        [sys.executable, "-m", "frontier.jobs.fork_server", *map(str, descriptors), str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=variables,
        pass_fds=descriptors,
        start_new_session=True,
    )
