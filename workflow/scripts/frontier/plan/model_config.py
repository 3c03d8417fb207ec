"""Find a model's shape without its weights, which is all that a plan needs of it."""

from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from transformers import CONFIG_MAPPING, AutoConfig

from frontier import records
from frontier.errors import UserError
from frontier.model import cache
from frontier.model.config_file import config_of, read_config
from frontier.study import embedded
from frontier.study.embedded import EMBEDDED_CONFIG


def find(model: dict):
    """Return the transformers config of a study's `model` section, from what is on this machine.

    Raises UserError where the shape is not known without a download, or where the project does not measure such models.
    """
    source = model["source"]
    if source == "architecture":
        return _from_dict(model["config"])
    if source == "path":
        return read_config(Path(model["path"]).resolve(), model["path"])
    fetched = cache.CACHE / "models" / records.digest(model)[:16]
    if (fetched / "config.json").exists():
        return AutoConfig.from_pretrained(fetched, local_files_only=True)
    if model == embedded.EMBEDDED_MODEL:
        return _from_dict(EMBEDDED_CONFIG)
    if source == "hub":
        file = try_to_load_from_cache(model["id"], "config.json", revision=model.get("revision"))
        if isinstance(file, str):
            return read_config(Path(file).parent, model["id"])
    name = model.get("id") or f"{model.get('package')}=={model.get('version')}"
    raise UserError(
        f"plan: the shape of {name} is not known without a download; run snakemake --cores 1 resources/model.json "
        "first, or give its config.json as model.source architecture"
    )


def _from_dict(options: dict):
    kind = options["model_type"]
    if kind not in CONFIG_MAPPING:
        raise UserError(f"config: model.config.model_type: got {kind}, takes a transformers model type")
    return config_of(options, kind)
