"""The names of a study's runs, and what a name says.

A name has precision, rank and seed, nf4-r16-s0, and behind them the value of each setting of which the configuration
has several (`frontier.axes`), nf4-r16-s0-lr2e-3. It may have that of a setting with one value too: such a run is
trained with the value of its name.
"""

import itertools
import re
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import jsonschema

from frontier import axes
from frontier.errors import UserError
from frontier.study.keys.configuration import key_at

PRECISION_PATTERN = "fp32|bf16|fp16|nf4|fp4|int8"
_START = rf"(?P<precision>{PRECISION_PATTERN})-r(?P<rank>[1-9]\d*)-s(?P<seed>\d+)"
# What a wildcard may be; `parse_run` refuses what is no name of a configuration's.
RUN_PATTERN = rf"(?:{PRECISION_PATTERN})-r[1-9]\d*-s\d+(?:-[A-Za-z0-9_.-]+)?"
_NUMBER = r"\d+(?:\.\d+)?(?:e-?\d+)?"


class Run(NamedTuple):
    """What a run's name says; `values` has those of further settings, by column, of `targets` the name of a set."""

    precision: str
    rank: int
    seed: int
    values: dict[str, Any]


def run_name(run: Run) -> str:
    """Return a run's name, say nf4-r16-s0-lr2e-3."""
    further = (axes.suffix(column, run.values[column]) for column in axes.TAGS if column in run.values)
    return f"{run.precision}-r{run.rank}-s{run.seed}{''.join(further)}"


def parse_run(name: str, config: dict, where: str = "run") -> Run:
    """Return what a run's name says.

    Raises UserError for a text that is no name of a run of this configuration; `where` tells what it was given for.
    """
    several = several_values(config)
    sets = config["lora"]["targets"]
    match = _pattern(tuple(sets) if isinstance(sets, dict) else ()).fullmatch(name)
    if not match:
        example = run_name(Run("nf4", 16, 0, {column: values[0] for column, values in several.items()}))
        raise UserError(f"{where}: got {name}, takes PRECISION-rRANK-sSEED and values of settings, say {example}")
    values = {column: _value(column, match[column]) for column in axes.TAGS if match[column]}
    run = Run(match["precision"], int(match["rank"]), int(match["seed"]), values)
    for column in several:
        if column not in values:
            known = [run_name(run._replace(values=values | {column: value})) for value in several[column]]
            raise UserError(
                f"{where}: got {name}, which lacks one of the several values of {'.'.join(axes.place(column))}; "
                f"takes {' or '.join(known[:3])}"
            )
    for column, value in values.items():
        if column != "targets" and not _validator(column).is_valid(value):
            takes = key_at(axes.place(column)).kind.takes
            raise UserError(f"{where}: got {name}, where {'.'.join(axes.place(column))} takes {takes}")
    if run_name(run) != name:
        raise UserError(f"{where}: got {name}, which is written {run_name(run)}")
    return run


def precision_of(name: str) -> str:
    """Return the precision of a run by its name."""
    return name.split("-")[0]


def several_values(config: dict) -> dict[str, list]:
    """Return the values of each setting of which a completed configuration has several, by column, in a name's order.

    Those of `targets` are the names of its sets.
    """
    found = {column: _configured(config, column) for column in axes.TAGS}
    return {
        column: list(value)
        for column, value in found.items()
        if isinstance(value, dict if column == "targets" else list)
    }


def settings(config: dict, name: str) -> dict:
    """Return the configuration as one run has it: each setting with the one value of the run."""
    own = config | {"lora": dict(config["lora"])}
    for column, value in parse_run(name, config).values.items():
        *section, key = axes.place(column)
        (own[section[0]] if section else own)[key] = config["lora"][key][value] if column == "targets" else value
    return own


def run_names(config: dict) -> list[str]:
    """Return the names of the grid's runs and of the extra ones, sorted by what they say, the seed last."""
    several = several_values(config)
    grid = itertools.product(config["precisions"], config["ranks"], config["seeds"], *several.values())
    runs = [
        Run(precision, rank, seed, dict(zip(several, values, strict=True))) for precision, rank, seed, *values in grid
    ]
    runs += [parse_run(name, config, "config: extra_runs") for name in config["extra_runs"]]
    return [run_name(run) for run in sorted(runs, key=_place)]


def shortest_name(name: str, config: dict) -> str:
    """Return a run's name without the values that the configuration gives every run: what is trained is the same."""
    run = parse_run(name, config)
    own = {column: value for column, value in run.values.items() if value != _configured(config, column)}
    return run_name(run._replace(values=own))


def varied(config: dict, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return, by run, the value of each setting in which the runs differ, by column; of `targets` the set's name."""
    runs = {name: parse_run(name, config).values for name in names}
    columns = {column for values in runs.values() for column in values}
    alone = {column: _configured(config, column) for column in columns}
    return {
        name: {column: values.get(column, alone[column]) for column in axes.TAGS if column in columns}
        for name, values in runs.items()
    }


def precisions(config: dict) -> list[str]:
    """Return the precisions that the study's runs have, sorted; each has a base model and its baseline."""
    return sorted({*config["precisions"], *map(precision_of, config["extra_runs"])})


def is_name_of_other(name: str) -> bool:
    """Return whether a name for a set of targets would be read as the value of another setting."""
    others = (column for column in axes.TAGS if column != "targets")
    return any(re.fullmatch(_words(column, ()), name) for column in others)


def _place(run: Run) -> tuple:
    """Return what runs are sorted by; a multiple of the rank follows numbers."""
    order = [*axes.TAGS]
    further = [(order.index(column), isinstance(value, str), value) for column, value in run.values.items()]
    return run.precision, run.rank, sorted(further), run.seed


def _configured(config: dict, column: str) -> Any:
    *section, key = axes.place(column)
    return (config[section[0]] if section else config)[key]


@cache
def _pattern(sets: tuple[str, ...]) -> re.Pattern:
    """Return the pattern of a run's name, a group for each setting's value; `sets` names the sets of targets."""
    further = (f"(?:-(?P<{column}>{_words(column, sets)}))?" for column in axes.TAGS)
    return re.compile(_START + "".join(further))


@cache
def _validator(column: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(key_at(axes.place(column)).kind.rule)


def _words(column: str, sets: tuple[str, ...]) -> str:
    """Return the pattern of what stands behind the dash for a setting's value; of one without values, of no text."""
    tag = axes.TAGS[column]
    if column == "targets":
        return "|".join(map(re.escape, sets)) or "(?!)"
    rule = key_at(axes.place(column)).kind.rule["anyOf"][0]
    if "enum" in rule:
        return f"{tag}(?:{'|'.join(map(re.escape, rule['enum']))})"
    if rule.get("type") == "boolean":
        return f"(?:{axes.OFF})?{tag}"
    return f"{tag}{_NUMBER}" + ("r?" if column == "alpha" else "")


def _value(column: str, words: str) -> Any:
    """Return the value of a setting that a name's words stand for."""
    tag = axes.TAGS[column]
    if not tag:
        return words
    if words in (tag, axes.OFF + tag):
        return words == tag
    digits = words.removeprefix(tag)
    if column == "lora_dtype":
        return digits
    if digits.endswith("r"):
        return digits
    return int(digits) if _validator(column).schema["anyOf"][0].get("type") == "integer" else float(digits)
