"""Give each job a device of its own. Snakemake only counts devices, so a job claims one by locking a file for it."""

import fcntl
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from frontier.errors import UserError, first_line
from frontier.machine import gpus


class Claim(NamedTuple):
    """Devices that no other job of this user has.

    `ids` are their names on this host, `visible` what CUDA_VISIBLE_DEVICES calls them here, `locks` the descriptors of
    the locked files.
    """

    ids: list[str]
    visible: list[str]
    locks: list[int]


@contextmanager
def claim(request: Mapping[str, Any], wait, folder: Path | None = None):
    """Claim a free device that a job's request allows, or one for each of the job's processes, while the block runs.

    Yields a Claim, or None for a job that needs no device. While too few are free it holds none, calls `wait(reason)`
    and looks again. A lock lasts as long as any process has its file open. So the worker is given the `locks` too: the
    device stays claimed until both processes have ended, in whatever way. The files lie in `folder`, by default the
    user's `private_folder`.
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
    """Return this host's folder for the locks and sockets of a user's jobs; UserError if others may use it."""
    try:
        folder = Path(tempfile.gettempdir()) / f"lora-frontier-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise UserError(f"TMPDIR: {first_line(error)}; takes a folder of this host that can be written to") from error
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o077:
        raise UserError(f"{folder}: takes a folder that is yours alone; remove it, or name another place by TMPDIR")
    return folder


def _lock(names: list[str], folder: Path, count: int) -> dict[str, int]:
    """Lock `count` free devices and return their files' descriptors by name; where fewer are free, lock none.

    If two jobs each held some of the devices that both need, they would wait for each other for ever.
    """
    held: dict[str, int] = {}
    for name in names:
        path = folder / f"device-{name.replace('/', '-')}.lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        except OSError as error:
            line = f"{path}: {error.strerror}; takes a disk with room and locks, which TMPDIR names"
            raise UserError(line) from error
        else:
            held[name] = lock
        if len(held) == count:
            return held
    for lock in held.values():
        os.close(lock)
    return {}
