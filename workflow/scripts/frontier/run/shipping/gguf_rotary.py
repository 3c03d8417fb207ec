"""How a model's rotary positions are turned and stretched, as a GGUF file says it."""

from typing import Any

import numpy as np
from transformers import PretrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from frontier.run.shipping.room import Unsuited

_FULL, _WINDOW = "full_attention", "sliding_attention"
# What of YaRN's parameters transformers and llama.cpp name otherwise.
_YARN = {"beta_fast": "rope.scaling.yarn_beta_fast", "beta_slow": "rope.scaling.yarn_beta_slow"}
# Parameters of YaRN that llama.cpp computes otherwise, or does not know.
_OTHER_YARN = ("attention_factor", "mscale", "mscale_all_dim")


def _parameters(config: PretrainedConfig, layer: str = _FULL) -> dict[str, Any]:
    """Return the rotary parameters of a kind of layer."""
    held = config.rope_parameters or {}
    return held.get(layer, held)


def turned_share(config: PretrainedConfig) -> float:
    """Return the share of a head's numbers that are turned."""
    return _parameters(config).get("partial_rotary_factor") or getattr(config, "partial_rotary_factor", None) or 1.0


def settings_of(config: PretrainedConfig) -> dict[str, Any]:
    """Return what a file says of rotary positions; Unsuited for a stretching that llama.cpp does not compute so."""
    held = _parameters(config)
    kind = held.get("rope_type", "default")
    found: dict[str, Any] = {"rope.freq_base": float(held["rope_theta"])}
    if _WINDOW in (config.rope_parameters or {}):
        found["rope.freq_base_swa"] = float(_parameters(config, _WINDOW)["rope_theta"])
    if kind in ("default", "llama3"):
        return found
    original = held.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
    if kind == "linear":
        return found | {"rope.scaling.type": "linear", "rope.scaling.factor": float(held["factor"])}
    if kind == "yarn" and not any(held.get(key) for key in _OTHER_YARN):
        found |= {"rope.scaling.type": "yarn", "rope.scaling.factor": float(held["factor"])}
        found["rope.scaling.original_context_length"] = int(original or config.max_position_embeddings)
        return found | {ours: float(held[key]) for key, ours in _YARN.items() if held.get(key)}
    if kind == "longrope":
        scale = ROPE_INIT_FUNCTIONS["longrope"](config, "cpu")[1]
        return found | {"rope.scaling.original_context_length": int(original), "rope.scaling.attn_factor": float(scale)}
    raise Unsuited(f"shipping: rotary positions stretched by {kind} with its settings are not written to a GGUF file")


def factors_of(config: PretrainedConfig) -> dict[str, np.ndarray]:
    """Return the tensors that divide each pair's frequency, by GGUF's names; none where positions need none."""
    held = _parameters(config)
    if held.get("rope_type") == "longrope":
        return {
            f"rope_factors_{length}.weight": np.array(held[f"{length}_factor"], dtype=np.float32)
            for length in ("long", "short")
        }
    if held.get("rope_type") != "llama3":
        return {}
    found = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")[0].double().numpy()
    dimensions = 2 * len(found)
    plain = 1 / held["rope_theta"] ** (np.arange(0, dimensions, 2) / dimensions)
    return {"rope_freqs.weight": (plain / found).astype(np.float32)}
