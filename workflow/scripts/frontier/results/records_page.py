"""Write docs/records.md, which says what each key of a study's records is, from their types."""

import re
import types
from enum import StrEnum
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NotRequired,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from frontier import paths, records
from frontier.data_types import ExamplesRecord
from frontier.material_types import BaseRecord, ModelRecord
from frontier.option_types import OptionRow
from frontier.proof_types import ProofRecord
from frontier.record_types import AccuracyRecord, EvaluationRecord, TrainingRecord
from frontier.request_types import BaseRequest, DataRequest, Job, ModelRequest, PlanRequest, TeamJob
from frontier.results import columns
from frontier.table_types import (
    AccuracyRow,
    AnswerRow,
    HistoryRow,
    LossRow,
    PlanRow,
    SummaryRow,
)
from frontier.token_types import TokensRecord

PAGE = paths.ROOT / "docs" / "records.md"
# The files of a study, each with the type of its record or of its rows.
FILES = {
    "results/runs/RUN/training.json": TrainingRecord,
    "results/runs/RUN/evaluation.json": EvaluationRecord,
    "results/baselines/PRECISION/evaluation.json": EvaluationRecord,
    "results/runs/RUN/accuracy.json": AccuracyRecord,
    "results/baselines/PRECISION/accuracy.json": AccuracyRecord,
    "results/plan.csv": PlanRow,
    "results/options.csv": OptionRow,
    "results/summary.csv": SummaryRow,
    "results/accuracy.csv": AccuracyRow,
    "results/runs/RUN/history.csv": HistoryRow,
    "results/runs/RUN/nll.parquet": LossRow,
    "results/runs/RUN/answers.parquet": AnswerRow,
    "resources/model.json": ModelRecord,
    "resources/bases/PRECISION.json": BaseRecord,
    "resources/proof.json": ProofRecord,
    "resources/examples/examples.json": ExamplesRecord,
    "resources/tokens/tokens.json": TokensRecord,
}
# What jobs are given, beside the requests that their records repeat.
JOBS = (Job, TeamJob, ModelRequest, BaseRequest, DataRequest, PlanRequest)
_WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "null",
    Any: "anything",
}
_INTRODUCTION = """\
# Records

What each key of a study's files is. The page is made from the types in `workflow/scripts/frontier/*_types.py` by
`make docs`, and a test holds the types against the files of real runs, those of docs/reference included.

A number that is not finite is `null`. In CSV files `null` is an empty cell, and true and false are `True` and `False`.
A GiB is 2^30 bytes. *May be absent* marks a key that some records lack; its line says when.

| file | holds |
|---|---|
"""


class Key(NamedTuple):
    """A key of a record: its name, the type of its value, what it is, and whether every record has it."""

    name: str
    kind: Any
    text: str
    required: bool


def keys_of(record: Any) -> list[Key]:
    """Return the keys of a TypedDict, in order; those of a generic one as they are declared."""
    declared = get_origin(record) or record
    found = []
    for name, hint in get_type_hints(declared, include_extras=True).items():
        kind, text = get_args(hint)[0] if get_origin(hint) is NotRequired else hint, ""
        if get_origin(kind) is Annotated:
            kind, text = get_args(kind)
        found.append(Key(name, kind, text, name in declared.__required_keys__))
    return found


def nested_in(kind: Any) -> list[Any]:
    """Return the TypedDicts that a type names: itself, or those of its parts."""
    if is_typeddict(get_origin(kind) or kind):
        return [get_origin(kind) or kind]
    return [one for part in get_args(kind) for one in nested_in(part)]


def reached(records_first: list[Any]) -> list[Any]:
    """Return the TypedDicts and all that their keys hold, each once, what a record holds right after it."""
    found: list[Any] = []

    def visit(record: Any) -> None:
        if record not in found:
            found.append(record)
            for key in keys_of(record):
                for inner in nested_in(key.kind):
                    visit(inner)

    for record in records_first:
        visit(record)
    return found


def title(record: Any) -> str:
    """Return a TypedDict's name as words: TrainingRecord is "Training record"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", record.__name__).capitalize()


def link(record: Any) -> str:
    """Return a Markdown link to a TypedDict's section of the page."""
    return f"[{title(record)}](#{title(record).lower().replace(' ', '-')})"


def in_words(kind: Any) -> str:
    """Return what values a type takes, as Markdown."""
    origin, parts = get_origin(kind), get_args(kind)
    if is_typeddict(origin or kind):
        return link(origin or kind)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return ", ".join(f"`{one}`" for one in kind)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(map(in_words, parts))
    if origin is list:
        return f"list of {in_words(parts[0])}"
    if origin is dict:
        return f"{in_words(parts[1])}, by name"
    return "the job's own request" if isinstance(kind, TypeVar) else _WORDS[kind]


def text_of(record: Any, key: Key) -> str:
    """Return what a key is; the summary's columns are described once, where the report takes them from."""
    if record is not SummaryRow:
        return key.text
    column = columns.COLUMNS[key.name]
    # The report shows shares as percentages.
    unit = {"": "", "%": " (a share: 0.1 is 10%)"}.get(column.unit, f" ({column.unit})")
    return f"{column.help.rstrip('.')}{unit}. {key.text}".strip()


def section(record: Any) -> str:
    """Return the part of the page on one TypedDict: what it is, and a line for each of its keys."""
    lines = [f"## {title(record)}", "", record.__doc__.strip().replace("\n    ", "\n"), ""]
    lines += ["| key | takes | what it is |", "|---|---|---|"]
    for key in keys_of(record):
        takes = in_words(key.kind) + ("" if key.required else "; *may be absent*")
        lines.append(f"| `{key.name}` | {takes} | {text_of(record, key)} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return docs/records.md as text."""
    files = "".join(f"| `{file}` | {link(record)} |\n" for file, record in FILES.items())
    jobs = f"| what a rule's function is given | {link(Job)} |\n"
    return "\n".join([_INTRODUCTION + files + jobs, *map(section, reached([*FILES.values(), *JOBS]))])


if __name__ == "__main__":
    records.write_text(PAGE, page())
