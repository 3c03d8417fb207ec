"""Fork the processes of jobs from one that has imported their libraries, so that a study imports torch once.

That process, the server, is started as `python -m frontier.jobs.fork_server 3 4 PATH`. Its owner is a call of
Snakemake, which has one server for each setting of the C library that its jobs start with. 3 and 4 are descriptors: of
a listening unix socket, whose file is PATH, and of the owner's process.

Each job is one connection. The server sends ACCEPTED, receives the request with the descriptors of the job's files,
sends a descriptor of the worker that it has forked, and at the worker's end its exit status. A worker is ended when its
connection closes, and the server when its owner ends.
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

# The largest request in bytes; most of a request are the job's environment variables.
_REQUEST_BYTES = 2**20
# The most descriptors that a message can hold under Linux (SCM_MAX_FD).
_DESCRIPTORS = 253
# Seconds that `_hand_over` waits for the imports that may start CUDA.
_HAND_OVER_SECONDS = 120
# What CUDA's driver returns (CUDA_ERROR_NOT_INITIALIZED) in a fork of a process that has started CUDA.
_NOT_INITIALIZED = 3


def main() -> None:
    """Import what jobs import, then serve until the owner ends; in each fork, do the job that it was forked for."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # This process outlives a worker that is asked to stop.
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

    `sources` are the times of change of the files that were imported: once a file has changed, requests are refused.
    """

    def __init__(self, listener: socket.socket, owner: io.FileIO, path: Path, sources: dict[Path, int]):
        # Not the default, an epoll: forks would share it with the server.
        self.selector = selectors.PollSelector()
        self.path, self.sources = path, sources
        self._await(owner, self._end)
        self._await(listener, self._accept)

    def serve(self) -> str:
        """Serve requests. Returns only in a forked worker, with the name of the function that it is to run."""
        while True:
            for key, _ in self.selector.select()[:1]:
                function = key.data(key.fileobj)
                if function:
                    return function

    def _await(self, file, action) -> None:
        """Have `action(file)` called whenever the file has something to read."""
        self.selector.register(file, selectors.EVENT_READ, action)

    def _close(self, file) -> None:
        """Close a file that was awaited."""
        self.selector.unregister(file)
        file.close()

    def _end(self, owner: io.FileIO) -> None:
        """End the server; the kernel then ends its workers, which have asked for that (`worker.die_with`)."""
        self.path.unlink(missing_ok=True)
        # An orderly exit would spend a second on freeing all those modules.
        os._exit(0)

    def _accept(self, listener: socket.socket) -> None:
        """Accept a connection, and await the request that will come on it."""
        connection, _ = listener.accept()
        with suppress(OSError):
            connection.send(ACCEPTED)
        self._await(connection, self._fork)

    def _fork(self, connection: socket.socket) -> str | None:
        """Fork a worker for the request that has come; in the worker alone, return the function that it is to run."""
        pid, files = None, list[int]()
        with suppress(OSError):
            request, files, *_ = socket.recv_fds(connection, _REQUEST_BYTES, _DESCRIPTORS)
            pid = os.fork() if request and _sources() == self.sources else None
        if pid == 0:
            for key in [*self.selector.get_map().values()]:
                self._close(key.fileobj)
            return _become_worker(json.loads(request), files)
        for file in files:
            os.close(file)
        if pid is None:
            self._close(connection)
            return None
        process = io.FileIO(os.pidfd_open(pid))
        self._await(process, partial(self._bury, pid, connection))
        self.selector.modify(connection, selectors.EVENT_READ, partial(self._kill, process))
        with suppress(OSError):
            socket.send_fds(connection, [str(pid).encode()], [process.fileno()])
        return None

    def _kill(self, process: io.FileIO, connection: socket.socket) -> None:
        """End a worker whose connection was closed by the other side."""
        signal.pidfd_send_signal(process.fileno(), signal.SIGKILL)
        self._close(connection)

    def _bury(self, pid: int, connection: socket.socket, process: io.FileIO) -> None:
        """Send the exit status of a worker that has ended, where its connection is still open."""
        _, status = os.waitpid(pid, 0)
        self._close(process)
        if connection.fileno() >= 0:
            with suppress(OSError):
                connection.send(str(status).encode())
            self._close(connection)


def _become_worker(request: dict, files: list[int]) -> str:
    """Give this fork the files, environment and folder of a new process for the request; return the function to run."""
    os.setsid()
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"] | {progress.EVENTS: str(files[3]), progress.START: "forked"})
    os.chdir(request["folder"])
    tempfile.tempdir = None
    return request["function"]


def _hand_over(modules: tuple[str, ...]) -> bool:
    """Try imports that may start CUDA in a fork, which becomes the server if they went well; return whether to end.

    In the fork the result is False: it goes on as the server. In this process it is True if the fork is ready to serve,
    and False if the imports failed, started CUDA or hung: then the fork is ended, and this process stays the server.
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
    """Return whether this process has started CUDA, so that forks cannot use it; a fork is made to find that out."""
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
    """Return the time of change of each file of the package, in nanoseconds."""
    return {path: path.stat().st_mtime_ns for path in paths.PACKAGE.rglob("*.py")}


if __name__ == "__main__":
    main()
