"""Folders that are built once and shared by all studies, safe against rivals and kills."""

import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from frontier import paths, records
from frontier.errors import UserError

CACHE = paths.CACHE
# A folder that is being built and has not changed for as long is nobody's.
_LEFT_SECONDS = 24 * 3600


def stamp_of(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def refuse_changed(record: dict) -> None:
    """Raise UserError where a file of a folder outside the cache is not what was fetched; one of the same date is."""
    folder = CACHE / record["folder"]
    changed = [
        name
        for name, stamp in record.get("stamps", {}).items()
        if not (folder / name).is_file()
        or (stamp_of(folder / name) != stamp and records.file_digest(folder / name) != record["files"][name])
    ]
    if changed:
        more = f" and {len(changed) - 1} more" if changed[1:] else ""
        raise UserError(
            f"model: {changed[0]}{more} in {folder} changed since the model was fetched; "
            "snakemake --cores 1 -R fetch_model makes again what depends on it"
        )


def cached(name: str, build) -> str:
    """`name` of a folder in the cache, filled by `build(partial)` unless it is there; safe against rivals and kills."""
    folder = CACHE / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
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


def _sweep(folder: Path) -> None:
    """Take away what builds that were killed have left; one that is locked, or written to now, may be going on."""
    for partial in folder.glob(".*-*/"):
        with suppress(OSError, Timeout):
            changes = [path.stat().st_mtime for path in (partial, *partial.rglob("*"))]
            if max(changes) < time.time() - _LEFT_SECONDS:
                # A download fills it at its end, however long it takes.
                with FileLock(partial.with_name(partial.name.rpartition("-")[0] + ".lock"), timeout=0):
                    shutil.rmtree(partial)
