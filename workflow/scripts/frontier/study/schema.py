"""A study's configuration: checked, completed with defaults, and taken apart into what each job depends on."""

import copy
import difflib
import itertools
import json
import re
from math import isfinite

import jsonschema
import yaml

from frontier import paths
from frontier.errors import UserError
from frontier.study import cards
from frontier.study.runs import precisions, run_names

SCHEMA = yaml.safe_load(paths.SCHEMA.read_text("utf-8"))
_SECTIONS = ("model", "data")
# YAML's .nan and .inf are no numbers that a training could use.
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "number", lambda checker, value: checker.is_type(value, "integer") or (type(value) is float and isfinite(value))
    ),
)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def resolve(config: dict) -> dict:
    """The configuration with every default filled in; raises UserError with one line for the first thing wrong."""
    schema = copy.deepcopy(SCHEMA)
    for section in _SECTIONS:
        schema["properties"][section] = _section_schema(section, config.get(section))
    resolved = _complete(_numbers(config, schema), schema)
    errors = sorted(_Validator(schema).iter_errors(resolved), key=lambda error: list(error.path))
    if errors:
        raise UserError(_explain(errors[0], schema))
    _check_together(resolved)
    # A list's order means nothing, so it must not look like a change.
    return resolved | {key: sorted(resolved[key]) for key in ("precisions", "ranks", "seeds", "extra_runs")}


def _section_schema(section: str, value) -> dict:
    """The schema of the source that a section names."""
    sources = SCHEMA["$defs"][section]
    if not isinstance(value, dict):
        raise UserError(f"config: {section}: got {_show(value)}, takes {SCHEMA['properties'][section]['description']}")
    source = value.get("source")
    if not isinstance(source, str) or source not in sources:
        raise UserError(f"config: {section}.source: got {_show(source)}, takes one of {', '.join(sources)}")
    schema = copy.deepcopy(sources[source])
    if section == "data":
        schema["properties"] = SCHEMA["$defs"]["any_data"] | schema["properties"]
    return schema


def _numbers(value, schema: dict):
    """YAML reads 2e-4 as text and 8.0 as no whole number: read each as the number the schema takes."""
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {str(key): _numbers(item, properties.get(key, {})) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item, schema.get("items", {})) for item in value]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(value, str) and "number" in kinds and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, float) and "integer" in kinds and value.is_integer():
        return int(value)
    return value


def _complete(value, schema: dict):
    """`value` with the schema's defaults where a key is missing, or empty and not allowed to be."""
    if not isinstance(value, dict):
        return value
    result = dict(value)
    for key, item in schema.get("properties", {}).items():
        may_be_empty = "null" in item.get("type", ())
        if "default" in item and (key not in result or (result[key] is None and not may_be_empty)):
            result[key] = copy.deepcopy(item["default"])
        if key in result:
            result[key] = _complete(result[key], item)
    return result


def _explain(error: jsonschema.ValidationError, schema: dict) -> str:
    place = ".".join(map(str, error.absolute_path))
    prefix = f"config: {place}: " if place else "config: "
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = next(key for key in error.instance if key not in known)
        close = difflib.get_close_matches(str(unknown), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"takes {', '.join(known)}"
        return f"config: {'.'.join([*filter(None, [place]), str(unknown)])}: unknown key; {hint}"
    if error.validator == "required":
        missing = next(key for key in error.schema["required"] if key not in error.instance)
        description = error.schema["properties"][missing].get("description", "a value")
        return f"config: {'.'.join([*filter(None, [place]), missing])}: missing; takes {description}"
    takes = error.schema.get("description") or schema.get("description")
    return f"{prefix}got {_show(error.instance)}, takes {takes}"


def _check_together(config: dict) -> None:
    """What no single key shows to be wrong."""
    cards.find(config["plan"]["card"])
    names = run_names(config)
    twice = next((name for name, following in itertools.pairwise(names) if name == following), None)
    if twice:
        raise UserError(f"config: extra_runs: got {twice}, takes runs that are not in the grid already")
    if (config["steps"] is None) == (config["epochs"] is None):
        raise UserError(
            f"config: steps: got {_show(config['steps'])} with epochs {_show(config['epochs'])}, takes one of the two"
        )
    micro, batch = config["micro_batch_size"], config["batch_size"]
    if micro and batch % micro:
        raise UserError(f"config: micro_batch_size: got {micro}, takes a whole number that divides batch_size, {batch}")
    if config["processes"] > 1:
        _check_processes(config)


def _check_processes(config: dict) -> None:
    processes, micro, batch = config["processes"], config["micro_batch_size"], config["batch_size"]
    if batch % processes:
        raise UserError(f"config: processes: got {processes}, takes a whole number that divides batch_size, {batch}")
    if micro and batch % (micro * processes):
        raise UserError(
            f"config: micro_batch_size: got {micro} with processes {processes}, "
            f"takes a whole number that divides each one's examples, {batch // processes}"
        )
    if "int8" in precisions(config):
        raise UserError(f"config: precisions: got int8 with processes {processes}, takes it with processes 1 alone")
    if "8bit" in config["optimizer"]:
        raise UserError(
            f"config: optimizer: got {config['optimizer']} with processes {processes}, "
            "takes adamw_torch or adamw_torch_fused there"
        )
    if ":" in config["device"]:
        raise UserError(
            f"config: device: got {config['device']} with processes {processes}, takes auto, cpu or cuda there"
        )


def _show(value) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
