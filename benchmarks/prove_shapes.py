"""Prove models of real sizes, by their shapes: `python benchmarks/prove_shapes.py [NAME ...]`.

Each is proved on the GPU that is here, or else on the CPU, as `prove_model` proves a model; a line says how long that
took, how losses are computed, and the largest difference of losses (nats) and of gradients (of a norm). The dimensions
are those of the models' public config.json files; a name that ends in -default has those of its family's configuration
class in transformers.
"""

import copy
import sys
import time

import _path  # noqa: F401
import torch
from frontier.errors import UserError
from frontier.run.prove import proof_of
from transformers import AutoConfig

_LLAMA_3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_theta": 500000.0,
}
SHAPES = {
    "mistral-7b": {
        "model_type": "mistral",
        "vocab_size": 32768,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "sliding_window": None,
    },
    "llama-3.1-8b": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "rope_parameters": _LLAMA_3,
    },
    "llama-3.2-1b": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": True,
        "rope_parameters": _LLAMA_3 | {"factor": 32.0},
    },
    "qwen2.5-7b": {
        "model_type": "qwen2",
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
    },
    "qwen3-8b": {
        "model_type": "qwen3",
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
    "qwen3-0.6b": {
        "model_type": "qwen3",
        "vocab_size": 151936,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "tie_word_embeddings": True,
    },
    "qwen3-30b-a3b": {
        "model_type": "qwen3_moe",
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "moe_intermediate_size": 768,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "num_hidden_layers": 48,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "norm_topk_prob": True,
    },
    "gemma-2-9b": {
        "model_type": "gemma2",
        "vocab_size": 256000,
        "hidden_size": 3584,
        "intermediate_size": 14336,
        "num_hidden_layers": 42,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
    },
    "gemma-3-1b": {
        "model_type": "gemma3_text",
        "vocab_size": 262144,
        "hidden_size": 1152,
        "intermediate_size": 6912,
        "num_hidden_layers": 26,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "sliding_window": 512,
    },
    "gemma-3-4b": {
        "model_type": "gemma3_text",
        "vocab_size": 262208,
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "sliding_window": 1024,
    },
    "gemma-3-12b": {
        "model_type": "gemma3_text",
        "vocab_size": 262208,
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "num_hidden_layers": 48,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "sliding_window": 1024,
    },
    "gemma-3n-e2b": {
        "model_type": "gemma3n_text",
        "num_hidden_layers": 30,
        "intermediate_size": 8192,
        "num_kv_shared_layers": 10,
        "layer_types": (["sliding_attention"] * 4 + ["full_attention"]) * 6,
        "activation_sparsity_pattern": [0.95] * 10 + [0.0] * 20,
    },
    "gemma-4-default": {"model_type": "gemma4_text"},
    "phi-3-mini": {
        "model_type": "phi3",
        "vocab_size": 32064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
        "sliding_window": 2047,
    },
    "phi-4": {
        "model_type": "phi3",
        "vocab_size": 100352,
        "hidden_size": 5120,
        "intermediate_size": 17920,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
        "num_key_value_heads": 10,
        "max_position_embeddings": 16384,
        "pad_token_id": 100349,
        "bos_token_id": 100257,
        "eos_token_id": 100265,
    },
    "smollm3-default": {"model_type": "smollm3"},
    "olmo2-7b": {
        "model_type": "olmo2",
        "vocab_size": 100352,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
    },
    "olmo-3-default": {"model_type": "olmo3"},
    "granite-3-8b": {
        "model_type": "granite",
        "vocab_size": 49155,
        "hidden_size": 4096,
        "intermediate_size": 12800,
        "num_hidden_layers": 40,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "embedding_multiplier": 12.0,
        "residual_multiplier": 0.22,
        "attention_multiplier": 0.0078125,
        "logits_scaling": 16.0,
    },
    "command-r7b": {
        "model_type": "cohere2",
        "vocab_size": 256000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "sliding_window": 4096,
        "logit_scale": 0.25,
    },
    "glm-4-default": {"model_type": "glm4"},
    "lfm2-default": {"model_type": "lfm2"},
    "qwen3-next-64-experts": {"model_type": "qwen3_next", "num_experts": 64},
    "qwen3.5-default": {"model_type": "qwen3_5_text"},
    "falcon-h1-default": {"model_type": "falcon_h1"},
    "nemotron-h-default": {"model_type": "nemotron_h"},
    "gpt-oss-20b": {"model_type": "gpt_oss", "num_local_experts": 32, "num_hidden_layers": 24},
    "mixtral-default": {"model_type": "mixtral"},
    "seed-oss-default": {"model_type": "seed_oss"},
    "gpt2-default": {"model_type": "gpt2"},
    "opt-1.3b": {
        "model_type": "opt",
        "hidden_size": 2048,
        "ffn_dim": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "word_embed_proj_dim": 2048,
    },
    "opt-350m": {
        "model_type": "opt",
        "hidden_size": 1024,
        "ffn_dim": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "word_embed_proj_dim": 512,
        "do_layer_norm_before": False,
    },
    "pythia-1.4b": {
        "model_type": "gpt_neox",
        "vocab_size": 50304,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "rotary_pct": 0.25,
    },
    "bloom-1b7": {"model_type": "bloom", "vocab_size": 250880, "hidden_size": 2048, "n_layer": 24, "n_head": 16},
    "falcon-default": {"model_type": "falcon"},
    "starcoder2-default": {"model_type": "starcoder2"},
    "stablelm-default": {"model_type": "stablelm"},
    "ministral3-default": {"model_type": "ministral3"},
    "mamba2-default": {"model_type": "mamba2"},
}


def line_of(name: str, device: torch.device) -> str:
    """Return what the proof of a shape says of it, in one line."""
    options = copy.deepcopy(SHAPES[name])
    start = time.perf_counter()
    try:
        proof = proof_of(AutoConfig.for_model(options.pop("model_type"), **options), device)
    except UserError as error:
        return f"{name:22} refused: {error}"
    seconds, way = time.perf_counter() - start, proof["ways"][0]
    losses = max(proof["sizes"][one] for one in ("own", "packed", "causal"))
    gradients = proof["sizes"]["gradients"]
    rows = "packed" if way["rows"] == "packed" else "one example"
    layers = f"{proof['layers']} of {proof['layers_in_all']}"
    return f"{name:22} {seconds:6.1f} s  {layers:8} layers  {rows:11}  losses {losses:.0e}  gradients {gradients:.0e}"


def main() -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    for name in sys.argv[1:] or SHAPES:
        print(line_of(name, device), flush=True)


if __name__ == "__main__":
    main()
