"""A device to each job: Snakemake counts accelerators and hands none out, so a job claims a free one by a file lock."""

import fcntl
import os
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from frontier import preflight
from frontier.errors import UserError

DEVICE_IDS = "FRONTIER_DEVICE_IDS"


class Claim(NamedTuple):
    """Devices that no other job of this user has: their names on this host, what CUDA calls them, the locks held."""

    ids: list[str]
    visible: list[str]
    locks: list[int]


def inventory(variables: dict, present: int) -> dict[str, str]:
    """The devices that a process may use, by their names on this host: what CUDA_VISIBLE_DEVICES calls each.

    `variables` is an environment, `present` the number of devices in the machine, for one that names none. Slurm's
    names come first: where it hides the other devices, CUDA counts from 0 in every job of a node.
    """
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(present)) if visible is None else map(str.strip, visible.split(","))
    known = []
    for name in names:
        if name in ("", "-1"):
            break
        known.append(name)
    bound = (variables.get("SLURM_STEP_GPUS") or variables.get("SLURM_JOB_GPUS") or "").split(",")
    return dict(zip(bound if all(bound) and len(bound) == len(known) else known, known, strict=True))


def wanted(device: str, found: dict[str, str], count: int = 1) -> list[str]:
    """The names of those that a config's `device` (auto, cuda, cuda:N) may be; UserError where too few are there."""
    kind, _, index = device.partition(":")
    if kind == "cpu" or (kind == "auto" and not found):
        return []
    if int(index or 0) >= len(found):
        raise UserError(f"device: got {device}, takes a device that is there; this job may use {len(found)} GPU(s)")
    if count > len(found):
        raise UserError(f"processes: got {count}, takes as many GPUs as are there; this job may use {len(found)}")
    return [list(found)[int(index)]] if index else list(found)


@contextmanager
def claim(request: dict, wait, folder: Path | None = None):
    """Hold a free device, or one for each of its processes, that the job's request may use while the block runs.

    None for a job that needs none. Where too few are free, holds none, calls `wait(reason)` and looks again. A lock
    ends with the processes that hold it, whatever ended them, so `locks` belong in the worker too.
    """
    found, count = inventory(os.environ, preflight.cuda_devices()), request.get("processes", 1)
    names = wanted(request.get("device", "cpu"), found, count)
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
