"""The process from which jobs are forked, so that a study imports torch once.

It is started as `python -m frontier.jobs.fork_server 3 4 PATH`.

Each Snakemake has one for each setting of the C library and is its owner; 3 and 4 are descriptors of a listening unix
socket, which lies at PATH, and of the owner's process.
A connection is a job: out goes ACCEPTED, in comes the request with its descriptors, out go the worker and, at its end,
its exit status.
The worker lives no longer than the connection, and the server no longer than its owner.
"""

import ctypes
import io
import json
import os
import select
import selectors
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

from frontier import paths, progress
from frontier.jobs import fork_client, worker
from frontier.jobs.fork_client import ACCEPTED
from frontier.machine import gpus, preload
from frontier.progress import EVENTS

_REQUEST_BYTES, _DESCRIPTORS = 2**20, 253
_HAND_OVER_SECONDS = 120
# What the driver answers (CUDA_ERROR_NOT_INITIALIZED) in a fork of a process that has started it.
_NOT_INITIALIZED = 3


def main() -> None:
    listener, owner = socket.socket(fileno=int(sys.argv[1])), io.FileIO(int(sys.argv[2]))
    path, sources = Path(sys.argv[3]), _sources()
    if gpus.cuda_devices():
        preload.preload(preload.WITHOUT_CUDA)
        if _hand_over(fork_client.modules_of_cuda()):
            os._exit(0)
    else:
        preload.preload(fork_client.MODULES)
    if _has_started_cuda():
        sys.exit("an import has started CUDA, which no fork could use")
    server = os.getpid()
    sys.argv[1:] = Server(listener, owner, path, sources).serve(), str(server)
    worker.main()


class Server:
    """Forks a worker for each request, until its owner ends.

    `sources` says which code was imported: a request that comes when there is other code on disk is turned away.
    """

    def __init__(self, listener: socket.socket, owner: io.FileIO, path: Path, sources: dict):
        # An epoll would be one with its workers'.
        self.selector = selectors.PollSelector()
        self.path, self.sources = path, sources
        self._await(owner, self._end)
        self._await(listener, self._accept)

    def serve(self) -> str:
        """Returns in the workers alone, with the function that each is to run."""
        while True:
            for key, _ in self.selector.select()[:1]:
                function = key.data(key.fileobj)
                if function:
                    return function

    def _await(self, file, action) -> None:
        self.selector.register(file, selectors.EVENT_READ, action)

    def _close(self, file) -> None:
        self.selector.unregister(file)
        file.close()

    def _end(self, owner: io.FileIO) -> None:
        """The kernel ends the workers with it: `worker.die_with`."""
        self.path.unlink(missing_ok=True)
        # To take so many modules apart is a second's work, and for nothing.
        os._exit(0)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with suppress(OSError):
            connection.send(ACCEPTED)
        self._await(connection, self._fork)

    def _fork(self, connection: socket.socket) -> str | None:
        pid, files = None, []
        with suppress(OSError):
            request, files, *_ = socket.recv_fds(connection, _REQUEST_BYTES, _DESCRIPTORS)
            pid = os.fork() if request and _sources() == self.sources else None
        if pid == 0:
            for key in self.selector.get_map().values():
                key.fileobj.close()
            return _become_worker(json.loads(request), files)
        for file in files:
            os.close(file)
        if pid is None:
            return self._close(connection)
        process = io.FileIO(os.pidfd_open(pid))
        self._await(process, partial(self._bury, pid, connection))
        self.selector.modify(connection, selectors.EVENT_READ, partial(self._kill, process))
        with suppress(OSError):
            socket.send_fds(connection, [str(pid).encode()], [process.fileno()])

    def _kill(self, process: io.FileIO, connection: socket.socket) -> None:
        signal.pidfd_send_signal(process.fileno(), signal.SIGKILL)
        self._close(connection)

    def _bury(self, pid: int, connection: socket.socket, process: io.FileIO) -> None:
        _, status = os.waitpid(pid, 0)
        self._close(process)
        if connection.fileno() >= 0:
            with suppress(OSError):
                connection.send(str(status).encode())
            self._close(connection)


def _become_worker(request: dict, files: list[int]) -> str:
    """Be to the job what a process started for it would be; the function that it is to run."""
    os.setsid()
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"] | {EVENTS: str(files[3]), progress.START: "forked"})
    os.chdir(request["folder"])
    tempfile.tempdir = None
    return request["function"]


def _hand_over(modules: tuple[str, ...]) -> bool:
    """Fork a server that imports these too. True where that came about, and this process is to end.

    It comes to nothing where importing them starts CUDA, or hangs. In the fork, False.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            with preload.capabilities_by_driver():
                preload.preload(modules)
        except Exception:
            os._exit(1)
        if _has_started_cuda():
            os._exit(1)
        os.write(writing, b"y")
        os.close(writing)
        return False
    os.close(writing)
    ready, _, _ = select.select([reading], [], [], _HAND_OVER_SECONDS)
    if ready and os.read(reading, 1):
        return True
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def _has_started_cuda() -> bool:
    """Whether a fork of this process could not use CUDA: torch knows in the fork alone, the driver says so there."""
    torch = sys.modules["torch"]
    pid = os.fork()
    if pid == 0:
        if torch.cuda._is_in_bad_fork():
            os._exit(1)
        with suppress(OSError):
            os._exit(ctypes.CDLL("libcuda.so.1").cuInit(0) == _NOT_INITIALIZED)
        os._exit(0)
    return os.waitpid(pid, 0)[1] != 0


def _sources() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in paths.PACKAGE.rglob("*.py")}


if __name__ == "__main__":
    main()
