"""The line that a user reads where a configuration is refused."""

import difflib
import json

import jsonschema

from frontier.errors import printable
from frontier.study import config_files


def refusal(error: jsonschema.ValidationError) -> str:
    """Return the line for what a JSON schema refuses: the key, what it was given, and what it takes."""
    place = [printable(str(part)) for part in error.absolute_path]
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = next(key for key in error.instance if key not in known)
        close = difflib.get_close_matches(str(unknown), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"takes {', '.join(known)}"
        return f"config: {'.'.join([*place, printable(str(unknown))])}: unknown key; {hint}"
    if error.validator == "required":
        missing = next(key for key in error.schema["required"] if key not in error.instance)
        takes = error.schema["properties"][missing].get("description", "a value")
        return f"config: {'.'.join([*place, missing])}: missing; takes {takes}"
    left_out = "; left out, it takes its default" if error.instance is None and "default" in error.schema else ""
    return f"config: {'.'.join(place)}: got {shown(error.instance)}, takes {error.schema['description']}{left_out}"


def of_merged(own: str, settings) -> str:
    """Return what a refusal adds where a configuration was put together of several sources, in their order.

    A key that it names may stand in another of them than the one that its user thinks of. `own` is the workflow's own
    file, `settings` Snakemake's of the configuration (its ConfigSettings). One source adds nothing.
    """
    sources = config_files.sources(own, settings) + (["--config"] if settings.config else [])
    if len(sources) < 2:
        return ""
    alone = f"; --replace-workflow-config leaves out {own}" if sources[0] == own else ""
    return f" ({', '.join(sources)} are merged key by key, a later one winning{alone})"


def shown(value) -> str:
    """Return a value of a configuration as text of at most 80 characters: JSON, or "nothing" for an empty one."""
    if value is None:
        return "nothing"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    line = printable(json.dumps(value, ensure_ascii=False, default=str))
    return line if len(line) <= 80 else line[:77] + "..."
