"""Hold a lock file that other jobs want too, here or on other nodes: say that it is waited for, give up after a time.

A lock of the kernel's is released when its process ends, in whatever way. Where a file system has no such locks (Lustre
mounted without flock), filelock makes the existence of the file the lock: the file then names the process and the host
that made it, and is still there after that host has died.
"""

from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from frontier.errors import UserError
from frontier.progress import say

# Seconds of waiting after which a line says so.
_TOLD_SECONDS = 5
# Seconds for which a file that is itself the lock is waited for, at the most: a download of 15 GB at 2 MB/s.
_LEFT_SECONDS = 2 * 3600


@contextmanager
def held(path: Path, most_seconds: float | None = None):
    """Hold the lock file `path` while the block runs.

    Waits for at most `most_seconds`. Where that is None, waits until the lock is free, but no longer than
    `_LEFT_SECONDS` for a file that is itself the lock, whose process may be gone. Raises UserError, which names the
    file, after that time, and where the file cannot be locked: for want of rights, of room or of locks.
    """
    lock = FileLock(path)
    _acquire(lock, path, most_seconds)
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, path: Path, most_seconds: float | None) -> None:
    """Acquire a lock; where that takes more than a few seconds, say what is waited for."""
    patience = _TOLD_SECONDS if most_seconds is None else min(_TOLD_SECONDS, most_seconds)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            say(f"waiting for {path}, {_holder(path)}")
            limit = (_LEFT_SECONDS if _is_itself_the_lock(path) else -1) if most_seconds is None else most_seconds
            lock.acquire(timeout=limit if limit < 0 else max(0, limit - patience))
    except Timeout:
        line = f"{path}: {_holder(path)}; wait for that job, or end it; if it is gone, remove the file"
        raise UserError(line) from None
    except OSError as error:
        line = f"{path}: {error.strerror}; takes a folder that can be written to, on a file system that gives locks"
        raise UserError(line) from error


def _is_itself_the_lock(path: Path) -> bool:
    """Return whether the file itself is the lock: filelock has then written the holder into it, else it is empty."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _holder(path: Path) -> str:
    """Return who has a lock, in words."""
    if not _is_itself_the_lock(path):
        return "which another job holds"
    process, host = [*path.read_text("utf-8", "replace").splitlines(), "", ""][:2]
    return f"which process {process} of host {host} holds"
