"""Checkpoints that no kill can spoil: sealed by checksums, two kept, gone once the run has its result."""

import os
import shutil
from pathlib import Path

from frontier import records
from frontier.checkpoint_files import MANIFEST, by_step

# The file with the clock's state, which is added to a checkpoint.
CLOCK = "clock.json"
# Checkpoints of a run: the older one is there in case that a kill spoils the newer.
KEPT = 2


def seal(checkpoint: Path, identity: str, clock: dict) -> None:
    """Add the clock's state to what the Trainer wrote and, last and atomically, a manifest of every file's SHA-256."""
    records.write_json(checkpoint / CLOCK, clock)
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != MANIFEST)
    for path in files:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    digests = {path.relative_to(checkpoint).as_posix(): records.file_digest(path) for path in files}
    records.write_json(checkpoint / MANIFEST, {"identity": identity, "files": digests})
    for old in by_step(checkpoint.parent)[KEPT:]:
        shutil.rmtree(old)


def newest(folder: Path, identity: str) -> Path | None:
    """Return the newest checkpoint that is whole and of this configuration and code, and delete those that are not."""
    found = None
    for checkpoint in by_step(folder):
        if is_sound(checkpoint, identity):
            found = found or checkpoint
        else:
            shutil.rmtree(checkpoint)
    return found


def is_sound(checkpoint: Path, identity: str) -> bool:
    """Return whether a checkpoint is sealed for this configuration and code, and its files are those sealed."""
    manifest = checkpoint / MANIFEST
    if not manifest.is_file():
        return False
    try:
        sealed = records.read_json(manifest)
    except ValueError:
        return False
    return sealed["identity"] == identity and all(
        (checkpoint / name).is_file() and records.file_digest(checkpoint / name) == digest
        for name, digest in sealed["files"].items()
    )


def kept_product_dtype(folder: Path, identity: str) -> str | None:
    """Return the dtype of products with which a training of this identity would go on, by its name, or None.

    A training that goes on where the processor multiplies another dtype fast keeps its own.
    """
    sound = (checkpoint for checkpoint in by_step(folder) if is_sound(checkpoint, identity))
    return next((clock_of(checkpoint).get("product_dtype") for checkpoint in sound), None)


def clock_of(checkpoint: Path) -> dict:
    """Return the clock's state in a checkpoint, as `Clock.state` returned it."""
    return records.read_json(checkpoint / CLOCK)
