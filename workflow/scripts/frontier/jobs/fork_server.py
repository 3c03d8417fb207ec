"""Fork the processes of jobs from one that has imported their libraries, so that a study imports torch once.

That process, the server, is started as `python -m frontier.jobs.fork_server 3 4 PATH`. Its owner is a Snakemake, which
has one server for each setting of the C library. 3 and 4 are descriptors: of a listening unix socket, which lies at
PATH, and of the owner's process.

Each job is one connection. The server sends ACCEPTED, receives the request with the descriptors of the job's files,
sends a descriptor of the worker that it has forked, and at the worker's end its exit status. A worker lives no longer
than its connection, the server no longer than its owner.
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

# Bytes that a request may have, of which a job's environment is the most.
_REQUEST_BYTES = 2**20
# Descriptors that one message can hold, by Linux (SCM_MAX_FD).
_DESCRIPTORS = 253
# Seconds that a fork has to import what may start CUDA.
_HAND_OVER_SECONDS = 120
# What the driver answers (CUDA_ERROR_NOT_INITIALIZED) in a fork of a process that has started it.
_NOT_INITIALIZED = 3


def main() -> None:
    """Import what jobs import, serve until the owner ends, and in each fork do the job that it is for."""
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
    """What forks a worker for each request, until its owner ends.

    `sources` tells the code that was imported: once there is other code on disk, all requests are turned away.
    """

    def __init__(self, listener: socket.socket, owner: io.FileIO, path: Path, sources: dict[Path, int]):
        # Not an epoll, which the workers would share with the server.
        self.selector = selectors.PollSelector()
        self.path, self.sources = path, sources
        self._await(owner, self._end)
        self._await(listener, self._accept)

    def serve(self) -> str:
        """Serve requests, and return in each worker alone, with the name of the function that it is to run."""
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
        """End the server, and with it, by the kernel's hand (`worker.die_with`), the workers."""
        self.path.unlink(missing_ok=True)
        # An orderly exit takes all those modules apart, which is a second's work for nothing.
        os._exit(0)

    def _accept(self, listener: socket.socket) -> None:
        """Open a connection, on which a request is to come."""
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
    """Make this fork what a process started for the request would be, and return the function that it is to run."""
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
    """Fork this server, have the fork import these modules too, and return whether this process is to end.

    In the fork, which is then the server, that is False. In this process it is True where the fork stands ready, and
    False where it does not, since the imports failed, started CUDA or hung: this one stays the server.
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
    """Return whether a fork of this process could not use CUDA; only in a fork do torch and the driver tell it."""
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
    """Return when each file of the package, in whatever folder, was last changed (nanoseconds)."""
    return {path: path.stat().st_mtime_ns for path in paths.PACKAGE.rglob("*.py")}


if __name__ == "__main__":
    main()
