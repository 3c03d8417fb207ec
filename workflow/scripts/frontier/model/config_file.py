"""The configuration of a model, opened and checked: config.json, or a study's own architecture."""

from collections.abc import Callable
from pathlib import Path

import transformers
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING, AutoConfig

from frontier.errors import UserError, one_line
from frontier.model.files import open_json

# How the classes end of networks with a head that predicts no next token.
_OTHER_HEADS = (
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
    "ForMaskedLM",
    "RewardModel",
)
# Attention that every model has, under the keys by which a configuration may ask for one.
_ATTENTION = ("eager", "sdpa")
_ATTENTION_KEYS = ("attn_implementation", "_attn_implementation")
# Files beside config.json in which older quantisers say what they did.
_QUANTISERS_FILES = ("quantize_config.json", "quant_config.json", "quantization_config.json", "hf_quant_config.json")


def read_config(folder: Path, name: str):
    """Return the transformers config of a folder; `name` is what its user calls the model.

    Raises UserError where it is none, or that of a model that is not measured here: one that is quantised already, that
    needs code of its own, or that predicts no next token.
    """
    options = open_json(folder / "config.json", name)
    check_options(options, name)
    quantisers = [file for file in _QUANTISERS_FILES if (folder / file).is_file()]
    if quantisers:
        raise UserError(quantised_line(name, f"{quantisers[0]} is there"))
    return _causal(lambda: AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False), name)


def config_of(options: dict, name: str):
    """Return the transformers config of options that a study gives itself; UserError as `read_config`."""
    check_options(options, name)
    return _causal(lambda: AutoConfig.for_model(**options), name)


def check_options(options: dict, name: str) -> None:
    """Raise UserError where what config.json holds, as Python's values, is no causal language model's."""
    if not isinstance(options, dict):
        raise UserError(f"model: {name}: config.json holds no object of names and values")
    _refuse_quantised(options, name)
    kind = options.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise UserError(f"model: {name}: config.json names no model_type, so nothing says what the weights are")
    if kind not in CONFIG_MAPPING:
        own = " but with code of its own (auto_map), which is never run here" if options.get("auto_map") else ""
        raise UserError(f"model: {name}: transformers {transformers.__version__} has no model_type {kind}{own}")
    if options.get("transformers_weights") not in (None, "model.safetensors", "model.safetensors.index.json"):
        raise UserError(f"model: {name}: config.json names weights by transformers_weights, which are not read")
    for key in _ATTENTION_KEYS:
        if isinstance(options.get(key), str) and options[key] not in _ATTENTION:
            raise UserError(
                f"model: {name}: config.json asks for {options[key]} ({key}), and attention is chosen here; take the "
                "key out"
            )
    other = [head for head in architectures(options) if head.endswith(_OTHER_HEADS)]
    if other:
        raise UserError(f"model: {name} is a {other[0]}, which predicts no next token; give a causal language model")


def architectures(options: dict) -> list[str]:
    """Return the names of the classes that config.json says the weights are of."""
    named = options.get("architectures") or []
    return [named] if isinstance(named, str) else [str(one) for one in named]


def reason(error: Exception, options: dict) -> str:
    """Return why transformers cannot make a model of config.json's `options`, in one line.

    Where it looks up a name that it does not have, its error is that name alone: the line says which key has it.
    """
    if isinstance(error, KeyError) and error.args:
        parts = [options, *(value for value in options.values() if isinstance(value, dict))]
        for key, value in (item for part in parts for item in part.items()):
            if value == error.args[0]:
                return f"transformers {transformers.__version__} has no {key} {value}"
    return one_line(error) or type(error).__name__


def quantised_line(name: str, evidence: str) -> str:
    """Return the refusal of a model whose weights are quantised already."""
    return (
        f"model: {name} is quantised already ({evidence}); give the 16- or 32-bit model that it was made of: "
        "precisions are made of that"
    )


def _causal(make: Callable, name: str):
    """Return the transformers config that `make()` gives; UserError where it is no causal language model's."""
    try:
        config = make()
    except Exception as error:
        # A config's class checks its values by whatever error it likes.
        raise UserError(f"model: {name}: transformers refuses its config.json: {one_line(error)}") from error
    kind = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(f"model: {name} is an encoder and a decoder ({kind}); give a causal language model")
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(f"model: {name} is a {kind}, which is no causal language model to transformers")
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING and getattr(config, "is_decoder", None) is False:
        raise UserError(f"model: {name} is an encoder ({kind}, is_decoder false); give a causal language model")
    return config


def _refuse_quantised(options: dict, name: str) -> None:
    """Raise UserError where the options, or those of a part such as text_config, say how weights were quantised."""
    for part in (options, *(value for value in options.values() if isinstance(value, dict))):
        for key in ("quantization_config", "compression_config"):
            if part.get(key) is not None:
                told = part[key] if isinstance(part[key], dict) else {}
                method = told.get("quant_method") or told.get("quant_algo") or "by a method that it does not name"
                raise UserError(quantised_line(name, f"{key} in config.json: {method}"))
