"""Which files of a folder are a model's: those that its digest covers, and those that hold its weights."""

import json
from fnmatch import fnmatch
from pathlib import Path

from frontier.errors import UserError

# Mistral's own layout of the same weights, which transformers never reads.
OTHER_LAYOUT = ("consolidated*",)
# Files that no model is loaded from.
_UNREAD = (".*", "*.md", *OTHER_LAYOUT)


def used_files(folder: Path) -> list[Path]:
    """Return the files that a model may be loaded from, sorted by name; folders within its folder are left out."""
    files = [path for path in folder.iterdir() if path.is_file()]
    return sorted(path for path in files if not any(fnmatch(path.name, pattern) for pattern in _UNREAD))


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that transformers loads.

    They are `model.safetensors`, or without it those that the index names, or without an index all that there are.
    """
    one, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if one.exists():
        return [one]
    if index.exists():
        names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        return sorted(folder / name for name in names)
    return [path for path in used_files(folder) if path.suffix == ".safetensors"]


def require_weights(folder: Path, name: str) -> None:
    """Raise UserError where a model's folder lacks config.json or weights; `name` is what its user calls the model."""
    if not (folder / "config.json").is_file():
        raise UserError(f"model: {name} has no config.json")
    paths = weight_files(folder)
    if not paths:
        raise UserError(f"model: {name} has no weights in safetensors files, which alone are read")
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise UserError(f"model: {name} lacks {missing[0]}{more}, which its index names")
