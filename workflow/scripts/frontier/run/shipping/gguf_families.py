"""What each family of models needs in a GGUF file beyond the names of its tensors.

The keys are those of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. A family whose query and key rows are
regrouped is one that llama.cpp turns in neighbouring pairs, where transformers turns halves.
"""

from typing import Any, NamedTuple

import numpy as np
from gguf import MODEL_ARCH
from transformers import PretrainedConfig

from frontier.run.shipping import gguf_rotary
from frontier.run.shipping.room import Unsuited


class Family(NamedTuple):
    """How llama.cpp knows a family, by transformers' `model_type`.

    `regroups`: query and key rows are regrouped. `adds_one`: norms multiply by one plus what transformers stores.
    `largest` is the difference of a logit up to which a file in float32 counts as right.
    """

    architecture: MODEL_ARCH
    regroups: bool = False
    adds_one: bool = False
    largest: float = 1e-3


FAMILIES = {
    "llama": Family(MODEL_ARCH.LLAMA, regroups=True),
    "mistral": Family(MODEL_ARCH.LLAMA, regroups=True),
    "smollm3": Family(MODEL_ARCH.SMOLLM3, regroups=True),
    "qwen2": Family(MODEL_ARCH.QWEN2),
    "qwen3": Family(MODEL_ARCH.QWEN3),
    # ggml looks GELU up in a table in float16, also where all else is in float32.
    "gemma3_text": Family(MODEL_ARCH.GEMMA3, adds_one=True, largest=2e-2),
    "phi3": Family(MODEL_ARCH.PHI3),
}


def family_of(config: PretrainedConfig) -> Family:
    """Return the family of a model's config; Unsuited where it is none whose GGUF files are written here."""
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise Unsuited(
            f"shipping: a GGUF file of {config.model_type} is not written here; there are {', '.join(FAMILIES)}; "
            "ship the adapter or the merged model"
        )
    return family


def settings_of(config: PretrainedConfig) -> dict[str, Any]:
    """Return what a file says of a model's shape, by GGUF's keys without the architecture's name.

    Whole numbers are int, others float. Raises Unsuited for what llama.cpp does not compute as transformers does.
    """
    heads = config.num_attention_heads
    size = head_size(config)
    found: dict[str, Any] = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": heads,
        "attention.head_count_kv": getattr(config, "num_key_value_heads", None) or heads,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "attention.key_length": size,
        "attention.value_length": size,
        "rope.dimension_count": round(size * gguf_rotary.turned_share(config)),
        "vocab_size": config.vocab_size,
    }
    return found | gguf_rotary.settings_of(config) | _window_of(config)


def head_size(config: PretrainedConfig) -> int:
    """Return the numbers of one attention head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def regrouped(rows: np.ndarray, heads: int) -> np.ndarray:
    """Return the rows of a query or key projection, (out, ...), with each head's halves interleaved."""
    apart = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(apart.swapaxes(1, 2).reshape(rows.shape))


def as_stored(name: str, rows: np.ndarray, config: PretrainedConfig) -> np.ndarray:
    """Return a weight's numbers as a GGUF file of the model's family has them; `name` is transformers'."""
    family = family_of(config)
    if family.regroups and (heads := heads_of(name, config)):
        return regrouped(rows, heads)
    if family.adds_one and name.endswith("norm.weight"):
        return rows + 1
    return rows


def heads_of(name: str, config: PretrainedConfig) -> int | None:
    """Return how many heads a query or key projection has, by a tensor's or a layer's name; None for any other."""
    if ".q_proj" in name:
        return config.num_attention_heads
    if ".k_proj" in name:
        return getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return None


def _window_of(config: PretrainedConfig) -> dict[str, Any]:
    """Return what a file says of a window of attention."""
    window, kind = getattr(config, "sliding_window", None), config.model_type
    if kind == "gemma3_text":
        return {"attention.sliding_window": window, "attention.sliding_window_pattern": _every(config.layer_types)}
    layers = set(getattr(config, "layer_types", None) or ())
    if kind in ("mistral", "phi3") and window:
        # llama.cpp computes these without a window: up to its length both compute the same.
        return {"context_length": min(window, config.max_position_embeddings), "attention.sliding_window": window}
    if "sliding_attention" in layers:
        raise Unsuited(f"shipping: {kind} with a sliding window has no GGUF file in which llama.cpp computes it")
    return {}


def _every(layers: list[str]) -> int:
    """Return each how manieth of a model's layers attends to everything; Unsuited where that is not regular."""
    full = [place for place, layer in enumerate(layers, 1) if layer == "full_attention"]
    every = full[0] if full else len(layers) + 1
    if full != list(range(every, len(layers) + 1, every)):
        raise Unsuited("shipping: its windows of attention follow no regular pattern, which GGUF's gemma3 has")
    return every
