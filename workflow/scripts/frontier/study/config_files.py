"""Look at a configuration's files as they are written: for what is lost once they are read."""

import os
import re
from pathlib import Path

import yaml

from frontier import strict_json
from frontier.errors import UserError, printable

# YAML 1.1 reads 010 as 8 and 1:30 as 90, by its octal and sexagesimal notations.
_NOTATIONS = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-9]+)+(\.[0-9_]*)?)")
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def sources(own: str, settings) -> list[str]:
    """Return the files that a configuration is merged of, in their order; a later one wins.

    `own` is the workflow's own file, `settings` Snakemake's of the configuration (its ConfigSettings).
    """
    files = [own] if Path(own).exists() and not settings.replace_workflow_config else []
    return files + [os.path.relpath(file) for file in settings.configfiles]


def check(files: list[str]) -> None:
    """Raise UserError, in one line, for a file that is no text in UTF-8, a key that stands twice, a number misread."""
    for file in files:
        text = _text(file)
        try:
            node = yaml.compose(text, yaml.SafeLoader)
        except yaml.YAMLError:
            # Snakemake reads JSON as well, which may have tabs.
            _check_json(text, file)
            continue
        if node is not None and "__use_yte__" not in text:
            _check_node(node, file, [], set())


def _text(file: str) -> str:
    try:
        return Path(file).read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"config: {file} is no text in UTF-8 (its byte {error.start} is none of it); save it as UTF-8"
        ) from error


def _check_json(text: str, file: str) -> None:
    try:
        strict_json.parse(text)
    except strict_json.KeyTwice as error:
        raise UserError(f"config: {file} {error}; leave one") from error
    except ValueError:
        return


def _check_node(node, file: str, place: list[str], seen: set[int]) -> None:
    """Look at a node of YAML and all below it; `seen` are those that an alias has led to already."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        _check_keys(node, file, place)
        for key, value in node.value:
            _check_node(value, file, [*place, printable(str(key.value))], seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _check_node(value, file, [*place, str(index)], seen)
    elif node.tag in _NUMBERS and _NOTATIONS.fullmatch(node.value):
        number = yaml.safe_load(node.value)
        raise UserError(
            f"config: {'.'.join(place)}: got {node.value} in {file}, which YAML reads as {number}; write the number "
            "in digits alone, or a text in quotes"
        )


def _check_keys(node, file: str, place: list[str]) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line, name = key.start_mark.line + 1, printable(str(key.value))
        if name in lines:
            raise UserError(
                f"config: {'.'.join([*place, name])}: stands twice in {file}, in lines {lines[name]} and {line}; "
                "leave one"
            )
        lines[name] = line
