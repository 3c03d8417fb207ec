"""A device to each job: Snakemake counts accelerators and hands none out, so a job claims a free one by a file lock."""

import fcntl
import os
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from frontier.errors import UserError
from frontier.machine import gpus


class Claim(NamedTuple):
    """Devices that no other job of this user has: their names on this host, what CUDA calls them, the locks held."""

    ids: list[str]
    visible: list[str]
    locks: list[int]


@contextmanager
def claim(request: dict, wait, folder: Path | None = None):
    """Hold a free device, or one for each of its processes, that the job's request may use while the block runs.

    None for a job that needs none. Where too few are free, holds none, calls `wait(reason)` and looks again. A lock
    ends with the processes that hold it, whatever ended them, so `locks` belong in the worker too.
    """
    found, count = gpus.inventory(os.environ, gpus.cuda_devices()), request.get("processes", 1)
    names = gpus.wanted(request.get("device", "cpu"), found, count)
    if not names:
        yield None
        return
    folder = folder or private_folder()
    many = f"{count} devices" if count > 1 else "a device"
    while not (held := _lock(names, folder, count)):
        wait(f"waiting for {many}: {', '.join(names)} in use")
    try:
        yield Claim([*held], [found[name] for name in held], [*held.values()])
    finally:
        for lock in held.values():
            os.close(lock)


def private_folder() -> Path:
    """The folder on this host where a user's jobs meet; UserError where it is not this user's alone."""
    folder = Path(tempfile.gettempdir()) / f"lora-frontier-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o077:
        raise UserError(f"{folder}: takes a folder that is yours alone; remove it, or name another place by TMPDIR")
    return folder


def _lock(names: list[str], folder: Path, count: int) -> dict[str, int]:
    """The locks of `count` free devices by their names; of none where fewer are free, lest two jobs wait for ever."""
    held: dict[str, int] = {}
    for name in names:
        lock = os.open(folder / f"device-{name.replace('/', '-')}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            held[name] = lock
        if len(held) == count:
            return held
    for lock in held.values():
        os.close(lock)
    return {}
