"""Published peaks of LoRA and QLoRA runs beside the plan's for the same model, base, rank, batch and length.

    python benchmarks/compare_published.py

The published ones are of other trainers, so they differ by what those trainers hold; the plan's are of this project's
plain step, without CUDA graphs, fused kernels or checkpointing, which none of the published runs had either. LoRA is on
the query and value projections alone, as there. Needs no card.
"""

import _path  # noqa: F401
from frontier.model.packing import collate
from frontier.plan.peak import predict_peak
from frontier.plan.step import emulated_card
from frontier.study import requests, schema
from frontier.units import GIB
from transformers import AutoConfig

LLAMA_2_7B = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "tie_word_embeddings": False,
}
LLAMA_2_13B = LLAMA_2_7B | {
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "num_key_value_heads": 40,
}
LLAMA_3_8B = LLAMA_2_7B | {"vocab_size": 128256, "intermediate_size": 14336, "num_key_value_heads": 8}
SHAPES = {"Llama 2 7B": LLAMA_2_7B, "Llama 2 13B": LLAMA_2_13B, "Llama 3 8B": LLAMA_3_8B}
TABLES = "LitGPT, tutorials/resource-tables.md of 2023-10-20, A100 40 GB"
CONFIGS = "LitGPT, config_hub/finetune/README.md, A10G"
# Model, base, rank, batch, length, GB of 1e9 bytes (torch.cuda.max_memory_allocated), source.
PUBLISHED = [
    ("Llama 2 7B", "bf16", 8, 1, 1304, 21.30, TABLES),
    ("Llama 2 7B", "bf16", 8, 2, 1304, 29.07, TABLES),
    ("Llama 2 7B", "nf4", 8, 1, 1304, 13.84, TABLES),
    ("Llama 2 13B", "bf16", 8, 1, 1304, 38.12, TABLES),
    ("Llama 2 13B", "nf4", 8, 1, 1304, 22.55, TABLES),
    ("Llama 2 7B", "bf16", 32, 2, 512, 19.77, CONFIGS),
    ("Llama 2 7B", "nf4", 32, 2, 512, 13.68, CONFIGS),
    ("Llama 3 8B", "nf4", 32, 2, 512, 17.41, CONFIGS),
]


def request(model: str, precision: str, rank: int, batch: int) -> dict:
    study = schema.resolve(
        {
            "model": {"source": "architecture", "config": {"model_type": "llama"} | SHAPES[model]},
            "data": {"source": "reasoning-gym", "train_examples": 8, "validation_examples": 8},
            "steps": 1,
            "batch_size": batch,
            "max_grad_norm": 0.0,
            "optimizer": "adamw_torch",
            "lora": {"alpha": 16.0, "dropout": 0.05, "targets": ["q_proj", "v_proj"]},
            "fused_kernels": False,
            "cuda_graphs": False,
            "offload_embeddings": False,
        }
    )
    return requests.training_request(study, f"{precision}-r{rank}-s0")


def main() -> None:
    print("| model | base | rank | batch | length | published GiB | planned GiB | of it weights | source |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, precision, rank, batch, length, published, source in PUBLISHED:
        shape = AutoConfig.for_model("llama", **SHAPES[name])
        examples = [{"input_ids": [1] * length, "labels": [1] * length}] * batch
        wanted = request(name, precision, rank, batch)
        peak = predict_peak(
            shape, wanted, [collate(examples)], [length] * batch, emulated_card.EmulatedCard(True, (8, 6))
        )
        gib = published * 1e9 / GIB
        cells = [name, precision, rank, batch, length, f"{gib:.2f}", f"{peak.allocated / GIB:.2f}"]
        print("|", " | ".join(map(str, [*cells, f"{peak.parts['weights'] / GIB:.2f}", source])), "|", flush=True)


if __name__ == "__main__":
    main()
