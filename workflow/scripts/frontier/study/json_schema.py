"""The JSON schemas of a configuration, made of its keys."""

from collections.abc import Iterable

from frontier.study.keys.configuration import OPTIONAL, SOURCED
from frontier.study.keys.key import Key, Section, Sourced

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_for(sources: dict[str, str]) -> dict:
    """Return the schema of the configurations whose sections `model` and `data` have the given sources."""
    return _configuration_schema({section.name: source_schema(section, sources[section.name]) for section in SOURCED})


def schema_of_all() -> dict:
    """Return the schema of every configuration, for editors that complete keys and show what each takes.

    It refuses what `schema_for` refuses, but cannot say in one line which key of a section with a source is wrong.
    """
    sourced = {}
    for section in SOURCED:
        sources = [source_schema(section, source) for source in section.sources]
        for source, schema in zip(section.sources, sources, strict=True):
            schema["properties"]["source"] = {"const": source}
        sourced[section.name] = {"description": section.takes, "oneOf": sources}
    return {"$schema": _DIALECT} | _configuration_schema(sourced)


def source_schema(section: Sourced, source: str) -> dict:
    """Return the schema of one of a section's sources; its key `source` takes whatever is there."""
    own = section.sources[source]
    properties = _properties(section.shared) | {"source": {}} | _properties(own)
    return _section_schema(properties) | {"required": ["source", *(key.name for key in own if key.is_required)]}


def _configuration_schema(sourced: dict[str, dict]) -> dict:
    return _section_schema(sourced | _properties(OPTIONAL)) | {"required": list(sourced)}


def _properties(entries: Iterable[Key | Section]) -> dict:
    return {entry.name: _entry_schema(entry) for entry in entries}


def _entry_schema(entry: Key | Section) -> dict:
    if isinstance(entry, Section):
        return _section_schema(_properties(entry.keys)) | {"description": entry.takes, "default": {}}
    return entry.kind.schema() | ({} if entry.is_required else {"default": entry.default})


def _section_schema(properties: dict) -> dict:
    return {"type": "object", "additionalProperties": False, "properties": properties}
