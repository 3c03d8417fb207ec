"""A study's configuration, checked against its keys and completed with their defaults."""

import copy
import re
from math import isfinite

import jsonschema

from frontier.errors import UserError
from frontier.study import shapes
from frontier.study.json_schema import schema_for
from frontier.study.keys.configuration import SOURCED
from frontier.study.keys.key import Sourced
from frontier.study.one_value import normalised
from frontier.study.refusals import refusal, shown
from frontier.study.together import check_together

# The order of these lists means nothing: run names are sorted, and so must not look like a change.
_UNORDERED = ("precisions", "ranks", "seeds", "extra_runs")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
# YAML's .nan and .inf are no numbers that a training could use.
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "number", lambda checker, value: checker.is_type(value, "integer") or (type(value) is float and isfinite(value))
    ),
)


def resolve(config: dict) -> dict:
    """Return the configuration with every default filled in.

    Raises UserError with one line for the first thing wrong: the key, what it was given, and what it takes.
    """
    schema = schema_for({section.name: _source(section, config.get(section.name)) for section in SOURCED})
    resolved = _complete(_numbers(config, schema), schema)
    errors = sorted(_Validator(schema).iter_errors(resolved), key=lambda error: list(error.path))
    if errors:
        raise UserError(refusal(errors[0]))
    if resolved["model"]["source"] == "shape":
        resolved["model"] = {"source": "architecture", "config": shapes.find(resolved["model"]["name"])}
    resolved = normalised(resolved | {key: sorted(resolved[key]) for key in _UNORDERED})
    check_together(resolved)
    return resolved


def _source(section: Sourced, value) -> str:
    """Return the source that the configuration's value of a section names; UserError where it names none."""
    if not isinstance(value, dict):
        raise UserError(f"config: {section.name}: got {shown(value)}, takes {section.takes}")
    source = value.get("source")
    if not isinstance(source, str) or source not in section.sources:
        raise UserError(
            f"config: {section.name}.source: got {shown(source)}, takes one of {', '.join(section.sources)}"
        )
    return source


def _numbers(value, schema: dict):
    """Return the value with each number as the schema takes it: YAML reads 2e-4 as text and 8.0 as no whole number."""
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {str(key): _numbers(item, properties.get(key, {})) for key, item in value.items()}
    alternatives = [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if isinstance(value, list):
        items: dict = next((one["items"] for one in alternatives if "items" in one), {})
        return [_numbers(item, items) for item in value]
    alternatives += [further for one in schema.get("anyOf", ()) for further in one.get("oneOf", ())]
    kinds = {kind for one in alternatives for kind in _listed(one.get("type", []))}
    if isinstance(value, str) and "number" in kinds and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, str) and "integer" in kinds and value.isdecimal():
        # Snakemake reads numbers within --config as text.
        return int(value)
    if isinstance(value, float) and "integer" in kinds and value.is_integer():
        return int(value)
    return value


def _listed(kinds: str | list[str]) -> list[str]:
    return [kinds] if isinstance(kinds, str) else kinds


def _complete(value, schema: dict):
    """Return the value with the schema's defaults where a key is missing; one that is there and empty stays so."""
    if not isinstance(value, dict):
        return value
    result = dict(value)
    for key, item in schema.get("properties", {}).items():
        if "default" in item and key not in result:
            result[key] = copy.deepcopy(item["default"])
        if key in result:
            result[key] = _complete(result[key], item)
    return result
