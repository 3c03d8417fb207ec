"""Write a file whole or not at all, read and write records (JSON), and digest values and files."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def digest(value) -> str:
    """Return the SHA-256 (hex) of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: str | Path, text: str) -> None:
    """Write a text to a file whole: into a file beside it, which then takes its name.

    So no reader sees a part of the text, and a process that is killed leaves none.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_json(path: str | Path, record: Mapping[str, Any] | list) -> None:
    """Write a record as JSON that other tools can read; raises ValueError for a number that is not finite."""
    write_text(path, json.dumps(record, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Return the record that a JSON file holds; the caller knows of which type it is."""
    return json.loads(Path(path).read_text(encoding="utf-8"))
