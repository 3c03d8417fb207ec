"""Find a run's checkpoints by the names of their files, without reading what is in them."""

from pathlib import Path

from frontier import records

# The folder of a run's checkpoints, in the run's own.
FOLDER = "checkpoints"
# The file that is written into a checkpoint last: its identity, and the digests of its other files.
MANIFEST = "manifest.json"


def by_step(folder: Path) -> list[Path]:
    """Return the folder's checkpoints, the newest first."""
    return sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    """Return the optimiser steps that a checkpoint has behind it."""
    return int(checkpoint.name.rpartition("-")[2])


def resumable_step(folder: Path, identity: str) -> int | None:
    """Return the step from which a training of this identity would go on; None where it would begin anew.

    Only the manifests are read, not the digests of the files: a checkpoint that was damaged since counts here.
    """
    for checkpoint in by_step(folder):
        try:
            if records.read_json(checkpoint / MANIFEST)["identity"] == identity:
                return step_of(checkpoint)
        except (OSError, ValueError):
            continue
    return None
