"""JSON lines: the format in which the jobs hand examples to each other."""

import json
from pathlib import Path

from frontier.data_types import Example


def read_lines(path: str) -> list[Example]:
    """Return the examples that `write_lines` wrote, in their order."""
    return [json.loads(line) for line in Path(path).read_bytes().splitlines() if line.strip()]


def write_lines(examples: list[Example], path: str) -> None:
    """Write one JSON object a line, in UTF-8."""
    Path(path).write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in examples), encoding="utf-8")
