"""What check_plan.py predicts and measures: models of 7B and above, precisions, ranks, batches, lengths."""

import random
from dataclasses import dataclass

_LLAMA = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
_HEADS = {"num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": False}
SHAPES = {
    "mistral-7b": _LLAMA | _HEADS | {"model_type": "mistral", "vocab_size": 32000, "sliding_window": None},
    "qwen2.5-7b": {
        "model_type": "qwen2",
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
    },
    "llama-3.1-8b": _LLAMA | _HEADS | {"vocab_size": 128256},
    "qwen3-8b": _LLAMA
    | _HEADS
    | {"model_type": "qwen3", "vocab_size": 151936, "intermediate_size": 12288}
    | {"num_hidden_layers": 36, "head_dim": 128},
    "qwen3-14b": _LLAMA
    | _HEADS
    | {"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 5120, "intermediate_size": 17408}
    | {"num_hidden_layers": 40, "num_attention_heads": 40, "head_dim": 128},
    "phi3-medium": _LLAMA
    | _HEADS
    | {"model_type": "phi3", "vocab_size": 32064, "hidden_size": 5120, "intermediate_size": 17920, "pad_token_id": 0}
    | {"num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 10},
    "olmo2-7b": _LLAMA
    | _HEADS
    | {"model_type": "olmo2", "vocab_size": 100352, "intermediate_size": 11008, "num_key_value_heads": 32},
}
_STEPS = 10


@dataclass(frozen=True)
class Combination:
    """What is trained; `fast` has CUDA graphs, fused kernels and embeddings offloaded, as a study by default.

    `mixed` has examples from half of `length` tokens up, the others are all of `length`.
    """

    model: str
    precision: str
    rank: int
    batch: int
    length: int
    checkpointing: bool
    fast: bool = True
    mixed: bool = False
    held_out: bool = False


def _group(model: str, precision: str, *combinations: tuple) -> list[Combination]:
    return [Combination(model, precision, *one) for one in combinations]


# In the order in which they are measured: a minutes' limit cuts the tail.
GROUPS = [
    _group(
        "mistral-7b",
        "nf4",
        (16, 8, 256, True),
        (8, 1, 1024, False),
        (64, 16, 256, True),
        (32, 4, 512, False, False),
        (24, 6, 320, True, True, True, True),
    ),
    _group(
        "qwen2.5-7b",
        "bf16",
        (32, 8, 256, True),
        (8, 4, 512, False),
        (16, 1, 1024, False, False),
        (48, 3, 448, False, True, True, True),
    ),
    _group(
        "mistral-7b",
        "fp16",
        (8, 1, 256, False),
        (16, 4, 512, True),
        (64, 8, 512, True, False),
        (32, 2, 1024, False),
    ),
    _group("qwen2.5-7b", "nf4", (8, 2, 512, False), (64, 4, 1024, True), (16, 16, 512, True, False)),
    _group(
        "llama-3.1-8b",
        "nf4",
        (16, 4, 768, True, True, True, True),
        (32, 12, 256, False, True, False, True),
    ),
    _group("qwen3-8b", "bf16", (16, 2, 640, True, True, False, True), (8, 6, 384, False, False, False, True)),
    _group("qwen3-14b", "nf4", (24, 3, 512, True, True, True, True)),
    _group("phi3-medium", "nf4", (16, 2, 384, True, True, False, True)),
    _group("olmo2-7b", "bf16", (32, 4, 320, False, True, False, True)),
]


def training_request(one: Combination) -> dict:
    """The combination as a study with the workflow's own defaults would ask for it."""
    from frontier.study import requests, schema

    study = schema.resolve(
        {
            "model": {"source": "architecture", "config": SHAPES[one.model]},
            "data": {"source": "reasoning-gym", "train_examples": 8, "validation_examples": 8},
            "steps": 2 * _STEPS if one.mixed else _STEPS,
            "batch_size": one.batch,
            "gradient_checkpointing": one.checkpointing,
            "fused_kernels": one.fast,
            "cuda_graphs": one.fast,
            "offload_embeddings": one.fast,
        }
    )
    return requests.training_request(study, f"{one.precision}-r{one.rank}-s0")


def examples(one: Combination) -> list[dict]:
    """Examples whose first third is a prompt."""
    draw = random.Random(0)
    rows = []
    for _ in range(one.batch * training_request(one)["training"]["steps"]):
        length = draw.randint(one.length // 2, one.length) if one.mixed else one.length
        ids = [draw.randrange(1000) for _ in range(length)]
        rows.append({"input_ids": ids, "labels": [-100] * (length // 3) + ids[length // 3 :]})
    return rows
