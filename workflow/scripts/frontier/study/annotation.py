"""The text of config/config.yaml, with every key and, beside each, what it buys."""

import re
from collections.abc import Iterator

import yaml

from frontier.study.keys.configuration import CONFIGURATION
from frontier.study.keys.key import Key, Section, Sourced

# A key, indented within its section, with its value and a comment beside it.
_LINE = re.compile(r'(?P<said>(?P<indent> *)(?P<name>[\w-]+):(?: +(?:"(?:[^"\\]|\\.)*"|[^#]*?))?)(?P<comment> +# .*)?')
# The column at which comments begin, unless a line is longer.
_COLUMN = 28


def annotated(text: str) -> str:
    """Return a configuration's text with each key's comment as the keys have it, and missing keys at their defaults.

    Values stay as they are written, and so does a comment beside a key that has none of its own.
    """
    entries = dict(entries_of(yaml.safe_load(text)))
    lines = _with_missing_keys(text.splitlines(), entries)
    for place, index in _places(lines).items():
        if place in entries and entries[place].buys:
            lines[index] = _with_comment(lines[index], entries[place].buys)
    return "\n".join(lines) + "\n"


def entries_of(config: dict) -> Iterator[tuple[str, Key | Section | Sourced]]:
    """Yield the place and the entry of each key and section that a configuration may have, in order.

    A place is the key's name after its section's, say `lora.alpha`. Sections with a source have that source's keys.
    """
    for entry in CONFIGURATION:
        yield entry.name, entry
        if isinstance(entry, Key):
            continue
        keys = entry.keys_of(config[entry.name]["source"]) if isinstance(entry, Sourced) else entry.keys
        for key in keys:
            yield f"{entry.name}.{key.name}", key


def _with_missing_keys(lines: list[str], entries: dict[str, Key | Section | Sourced]) -> list[str]:
    """Return the lines with one more for each key that they lack and that has a default, after the key before it."""
    result, before = list(lines), ""
    for place, entry in entries.items():
        known = _places(result)
        if place not in known and not isinstance(entry, Sourced) and not (isinstance(entry, Key) and entry.is_required):
            result.insert(known[before] + 1, _default_line(place, entry))
        before = place
    return result


def _places(lines: list[str]) -> dict[str, int]:
    """Return the index of each key's line by the key's place."""
    found, section = {}, ""
    for index, line in enumerate(lines):
        match = _LINE.fullmatch(line)
        if match and not match["indent"]:
            section = match["name"]
        if match:
            found[f"{section}.{match['name']}" if match["indent"] else section] = index
    return found


def _default_line(place: str, entry: Key | Section) -> str:
    """Return the line of a key at its default, or the line that opens a section."""
    name = place.rpartition(".")[2]
    indent = "  " if "." in place else ""
    if isinstance(entry, Section) or entry.default is None:
        return f"{indent}{name}:"
    value = yaml.safe_dump(entry.default, default_flow_style=True).removesuffix("...\n").strip()
    return f"{indent}{name}: {value}"


def _with_comment(line: str, comment: str) -> str:
    match = _LINE.fullmatch(line)
    said = match["said"] if match else line
    return f"{said.ljust(_COLUMN) if len(said) < _COLUMN else said + '  '}# {comment}"
