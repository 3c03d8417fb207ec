"""The cache: folders of models and bases, each built once and shared by all studies.

A folder is whole or not there at all, whichever processes build it at once and whichever of them are killed.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from frontier import paths
from frontier.errors import UserError, first_line
from frontier.machine import file_locks

# A record names a folder in the cache by its path relative to this one, and a folder elsewhere by its absolute path:
# `cache.CACHE / folder` is right for both. Modules read it as `cache.CACHE`, since tests put another in its place.
CACHE = paths.CACHE
# Seconds without a change after which a half-built folder counts as left behind, if no build holds its lock.
_LEFT_SECONDS = 24 * 3600


def cached(name: str, build: Callable[[Path], None]) -> str:
    """Return `name`, the path in the cache of a folder that `build(partial)` has filled unless it was there already.

    What is there is taken from a cache that cannot be written to, too. Raises UserError where it is not there, and the
    cache cannot be written to.
    """
    folder = CACHE / name
    # What is there is whole, and is taken without a lock: from a cache that this user may only read, too.
    if folder.is_dir():
        return name
    _require_writable(folder.parent)
    with file_locks.held(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            _sweep(folder.parent)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as partial:
                target = Path(partial) / "model"
                target.mkdir()
                build(target)
                try:
                    target.rename(folder)
                except OSError:
                    # Another node was first, on a file system whose locks this one does not see.
                    if not folder.is_dir():
                        raise
    return name


def _require_writable(folder: Path) -> None:
    """Make a folder of the cache where there is none; UserError where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"model: models and bases cannot be kept in {CACHE} ({first_line(error)}); set {paths.CACHE_VARIABLE} to a "
            "folder that can be written to"
        ) from error


def _sweep(folder: Path) -> None:
    """Delete what killed builds have left in a folder.

    A build that holds its lock, or that has written within `_LEFT_SECONDS`, may be going on; its folder stays.
    """
    for partial in folder.glob(".*-*/"):
        with suppress(OSError, Timeout):
            changes = [path.stat().st_mtime for path in (partial, *partial.rglob("*"))]
            if max(changes) < time.time() - _LEFT_SECONDS:
                # A download writes into its folder only at its end, so that it can look old while it goes on.
                with FileLock(partial.with_name(partial.name.rpartition("-")[0] + ".lock"), timeout=0):
                    shutil.rmtree(partial)
