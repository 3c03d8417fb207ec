"""Find a model's shape without its weights, which is all that a plan needs of it."""

from pathlib import Path

from transformers import AutoConfig

from frontier import records
from frontier.errors import UserError
from frontier.model import cache
from frontier.study import embedded
from frontier.study.embedded import EMBEDDED_CONFIG


def find(model: dict):
    """Return the transformers config of a study's `model` section, from what is on this machine.

    Raises UserError where the shape is known after a download alone.
    """
    source = model["source"]
    if source == "architecture":
        return _from_dict(model["config"])
    if source == "path":
        return AutoConfig.from_pretrained(Path(model["path"]).resolve(), local_files_only=True)
    fetched = cache.CACHE / "models" / records.digest(model)[:16]
    if (fetched / "config.json").exists():
        return AutoConfig.from_pretrained(fetched, local_files_only=True)
    if model == embedded.EMBEDDED_MODEL:
        return _from_dict(EMBEDDED_CONFIG)
    if source == "hub":
        try:
            return AutoConfig.from_pretrained(model["id"], revision=model.get("revision"), local_files_only=True)
        except OSError:
            pass
    name = model.get("id") or f"{model.get('package')}=={model.get('version')}"
    raise UserError(
        f"plan: the shape of {name} is not known without a download; run snakemake --cores 1 resources/model.json "
        "first, or give its config.json as model.source architecture"
    )


def _from_dict(options: dict):
    options = dict(options)
    kind = options.pop("model_type")
    try:
        return AutoConfig.for_model(kind, **options)
    except ValueError:
        raise UserError(f"config: model.config.model_type: got {kind}, takes a transformers model type") from None
