"""What a GGUF file says of a model and transformers leaves out: how rotary positions are stretched, say.

The keys are those of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; what they mean is llama.cpp's
computation, `ggml_rope_ext` with the context that `llama_context` makes of them.
"""

import math
from pathlib import Path

import numpy as np

from frontier.errors import UserError
from frontier.model.files import and_more

# The frequency factors of each pair of dimensions, as llama.cpp stores those of Llama 3.1 to 3.3.
_FACTORS = "rope_freqs.weight"
# Words in keys that change what is computed, where transformers does not read the key.
_COUNTS = ("softcap", "scale", "sliding_window", "clamp", "norm_before")
# Of Llama 3.1 to 3.3, by their config.json: what their factors are computed of, beside `factor`.
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
# Relative difference up to which factors are those of _LLAMA3; they are stored in float32.
_SAME = 1e-4


def complete(network, path: Path, name: str) -> None:
    """Give the config of a model, loaded from a GGUF file, the stretching of its rotary positions that the file has.

    Raises UserError where the file has a stretching, a setting or tensors that the model would lack. `name` is what the
    model's user calls it.
    """
    from gguf import GGUFReader

    reader = GGUFReader(path)
    kind = reader.get_field("general.architecture").contents()
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    settings = {
        key.removeprefix(f"{kind}."): field.contents()
        for key, field in reader.fields.items()
        if key.startswith(f"{kind}.")
    }
    _refuse_lost(network, kind, settings, tensors, name)
    stretched = _stretching(network.config, settings, tensors, name)
    if stretched:
        theta = (network.config.rope_parameters or {}).get("rope_theta", settings.get("rope.freq_base", 10000.0))
        network.config.rope_parameters = {"rope_theta": theta} | stretched


def _stretching(config, settings: dict, tensors: dict, name: str) -> dict | None:
    """Return transformers' `rope_parameters` of a file's settings, less the base; None where they stretch nothing."""
    kind, factor = settings.get("rope.scaling.type"), settings.get("rope.scaling.factor")
    if kind is None and "rope.scale_linear" in settings:
        # The key of files of 2023.
        kind, factor = "linear", settings["rope.scale_linear"]
    factors = _factors(tensors)
    is_stretched = kind not in (None, "none") and factor not in (None, 0, 1)
    if factors is None and not is_stretched:
        if kind in (None, "none", "linear", "yarn"):
            return None
    elif factors is not None and not is_stretched:
        return _by_factors(config, factors)
    elif factors is None and kind == "linear":
        return {"rope_type": "linear", "factor": float(factor)}
    elif factors is None and kind == "yarn":
        return _yarn(config, settings, float(factor))
    how = f"{kind} and {_FACTORS}" if factors is not None else kind
    raise UserError(
        f"model: {name}: its GGUF file stretches rotary positions by {how}, which is not read from there; give the "
        "model's config.json and safetensors files (model.source hub or path)"
    )


def _yarn(config, settings: dict, factor: float) -> dict:
    """Return YaRN's parameters; llama.cpp's scale of attention is transformers' own, times the file's."""
    original = settings.get("rope.scaling.original_context_length") or round(config.max_position_embeddings / factor)
    stretched = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": int(original)}
    for key, ours in (("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")):
        if f"rope.scaling.{key}" in settings:
            stretched[ours] = float(settings[f"rope.scaling.{key}"])
    if settings.get("rope.scaling.attn_factor") not in (None, 1.0):
        stretched["attention_factor"] = settings["rope.scaling.attn_factor"] * (0.1 * math.log(factor) + 1)
    return stretched


def _factors(tensors: dict) -> np.ndarray | None:
    """Return what a file divides each pair's frequency by; None where that is one throughout."""
    if _FACTORS not in tensors:
        return None
    factors = np.asarray(tensors[_FACTORS].data, dtype=np.float64).ravel()
    return None if np.all(factors == 1) else factors


def _by_factors(config, factors: np.ndarray) -> dict:
    """Return the parameters that divide the frequencies by `factors`: Llama 3's, or where they are others, a list."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    theta = config.rope_parameters["rope_theta"]
    dimensions = 2 * len(factors)
    plain = 1 / theta ** (np.arange(0, dimensions, 2) / dimensions)
    likely = {"rope_type": "llama3", "factor": float(factors.max())} | _LLAMA3
    before = config.rope_parameters
    config.rope_parameters = {"rope_theta": theta} | likely
    found = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")[0].double().numpy()
    config.rope_parameters = before
    if len(found) == len(plain) and np.allclose(plain / found, factors, rtol=_SAME):
        return likely
    # Factors of this kind are the same at any length, and scale no attention.
    return {
        "rope_type": "longrope",
        "short_factor": factors.tolist(),
        "long_factor": factors.tolist(),
        "original_max_position_embeddings": config.max_position_embeddings,
        "factor": 1.0,
        "attention_factor": 1.0,
    }


def _refuse_lost(network, kind: str, settings: dict, tensors: dict, name: str) -> None:
    """Raise UserError where the file has more numbers than the model, or a setting that counts and is not read."""
    from transformers.modeling_gguf_pytorch_utils import GGUF_TO_TRANSFORMERS_MAPPING

    read = GGUF_TO_TRANSFORMERS_MAPPING["config"].get(kind, {})
    lost = [
        key
        for key in settings
        if key not in read and not key.startswith("rope.") and any(word in key for word in _COUNTS)
    ]
    if lost:
        raise UserError(f"model: {name}: transformers does not read {and_more(lost)} of its GGUF file ({kind})")
    there = sum(int(tensor.n_elements) for key, tensor in tensors.items() if not key.startswith("rope_"))
    loaded = network.num_parameters()
    if there != loaded:
        raise UserError(f"model: {name}: its GGUF file has {there:,} weights, of which transformers reads {loaded:,}")
