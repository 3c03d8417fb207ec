"""Find a model's shape without its weights, which is all that a plan needs of it."""

from pathlib import Path

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HTTPError
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM

from frontier import records
from frontier.errors import UserError
from frontier.model import cache
from frontier.model.config_file import config_of, read_config
from frontier.study import embedded, shapes
from frontier.study.embedded import EMBEDDED_CONFIG

# The one file of a hub's model that a plan fetches.
_SHAPE = "config.json"


def find(model: dict):
    """Return the transformers config of a study's `model` section, without its weights.

    Of a model of the hub its config.json alone is fetched; where there is no hub, its shape may be one of
    config/shapes.yaml. Raises UserError where the shape is not known, or where the project does not measure such
    models.
    """
    source = model["source"]
    if source == "architecture":
        return _from_dict(model["config"])
    if source == "path":
        return read_config(Path(model["path"]).resolve(), model["path"])
    fetched = cache.CACHE / "models" / records.digest(model)[:16]
    if (fetched / _SHAPE).exists():
        return AutoConfig.from_pretrained(fetched, local_files_only=True)
    if model == embedded.EMBEDDED_MODEL:
        return _from_dict(EMBEDDED_CONFIG)
    name = model.get("id") or f"{model.get('package')}=={model.get('version')}"
    if source == "hub":
        if file := _of_hub(model, _SHAPE):
            return read_config(file.parent, name)
        if known := shapes.of_hub(name):
            return _from_dict(known)
    raise UserError(
        f"plan: the shape of {name} is not known without a download; run snakemake --cores 1 resources/model.json "
        "first, or give a shape by name, model: {source: shape, name: Qwen2.5-7B}"
    )


def parameters(config) -> int:
    """Return how many numbers a model of this shape has, as transformers builds it."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def _of_hub(model: dict, name: str) -> Path | None:
    """Return a file of a hub's model, from this machine or fetched; None where the hub does not give it."""
    revision = model.get("revision")
    file = try_to_load_from_cache(model["id"], name, revision=revision)
    if isinstance(file, str):
        return Path(file)
    try:
        return Path(hf_hub_download(model["id"], name, revision=revision))
    except (OSError, ValueError, HTTPError):
        return None


def _from_dict(options: dict):
    kind = options["model_type"]
    if kind not in CONFIG_MAPPING:
        raise UserError(f"config: model.config.model_type: got {kind}, takes a transformers model type")
    return config_of(options, kind)
