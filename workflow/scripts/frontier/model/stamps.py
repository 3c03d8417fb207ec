"""Size and time of change of a user's own model files, by which a change since they were fetched is found."""

from pathlib import Path

from frontier import paths, records
from frontier.errors import UserError
from frontier.material_types import BaseRecord, ModelRecord
from frontier.model import cache
from frontier.model.files import used_files


def stamp_of(path: Path) -> list[int]:
    """Return a file's size in bytes and its time of change in nanoseconds."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def refuse_changed(record: ModelRecord | BaseRecord) -> None:
    """Raise UserError where the folder of a model's or a base's record, or a file in it, is no longer what was fetched.

    A file of the same stamp counts as unchanged; one of another stamp is read, and counts as changed where its SHA-256
    differs too. A file that was not there is a change: weights or an adapter may be loaded from it.
    """
    folder = cache.CACHE / record["folder"]
    if not folder.is_dir():
        raise UserError(
            f"model: {folder} is not there any more; set {paths.CACHE_VARIABLE} to the cache that has it, or "
            "snakemake --cores 1 -R fetch_model makes it again"
        )
    stamps = record.get("stamps") or {}
    changed = [path.name for path in used_files(folder) if path.name not in stamps] if stamps else []
    changed += [
        name
        for name, stamp in stamps.items()
        if not (folder / name).is_file()
        or (stamp_of(folder / name) != stamp and records.file_digest(folder / name) != record["files"][name])
    ]
    if changed:
        more = f" and {len(changed) - 1} more" if changed[1:] else ""
        raise UserError(
            f"model: {changed[0]}{more} in {folder} changed since the model was fetched; "
            "snakemake --cores 1 -R fetch_model makes again what depends on it"
        )
