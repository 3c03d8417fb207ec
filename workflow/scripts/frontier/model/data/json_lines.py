"""JSON lines: the format in which the jobs hand examples to each other, and in which a user may bring them."""

import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path

from frontier import strict_json
from frontier.errors import UserError, one_line
from frontier.model.data.checks import checked_example


def read_lines(path: str, question_column: str = "question", answer_column: str = "answer") -> list[dict[str, str]]:
    """Return a file's examples in their order; a malformed line raises UserError naming file and line."""
    return [checked_example(row, question_column, answer_column, where) for where, row in _rows(path)]


def write_lines(examples: list[dict[str, str]], path: str) -> None:
    """Write one JSON object a line, in UTF-8."""
    Path(path).write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in examples), encoding="utf-8")


def _rows(path: str) -> Iterator[tuple[str, object]]:
    """Yield the place (`file:line`) and the value of each line that is not blank."""
    if strict_json.is_pointer(Path(path)):
        raise UserError(f"{path}: a pointer of Git LFS, not the file; run git lfs pull where it lies")
    # Windows' editors begin a file of UTF-8 with a mark.
    for number, line in enumerate(Path(path).read_bytes().removeprefix(BOM_UTF8).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = strict_json.parse(line.decode("utf-8"))
        except UnicodeDecodeError:
            raise UserError(f"{where}: not UTF-8") from None
        except strict_json.KeyTwice as error:
            raise UserError(f"{where}: {error}") from None
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: not JSON ({error.msg}, column {error.colno}); takes one object a line") from None
        except ValueError as error:
            raise UserError(f"{where}: not JSON that is read here ({one_line(error)})") from None
        yield where, row
