"""Size and time of change of a user's own model files, by which a change since they were fetched is found."""

from pathlib import Path

from frontier import records
from frontier.errors import UserError
from frontier.material_types import BaseRecord, ModelRecord
from frontier.model import cache


def stamp_of(path: Path) -> list[int]:
    """Return a file's size in bytes and its time of change in nanoseconds."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def refuse_changed(record: ModelRecord | BaseRecord) -> None:
    """Raise UserError where a file that a model's or a base's record has a stamp of is no longer what was fetched.

    A file of the same stamp counts as unchanged; one of another stamp is read, and counts as changed where its SHA-256
    differs too.
    """
    folder = cache.CACHE / record["folder"]
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
