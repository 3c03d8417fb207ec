"""Predicted against measured on the card that is there: peak memory and step time of the real training step.

    PYTHONPATH=workflow/scripts python benchmarks/check_plan.py > check_plan.md

Models of random weights are made on the card, one architecture and precision at a time, and shared by the combinations
that differ in rank, batch, length or checkpointing. Prints a JSON line for each combination as it is measured, and a
table at the end. Under four minutes on an H200.
"""

import argparse
import gc
import itertools
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")

import bitsandbytes as bnb
import torch
from frontier import calibration, memory, models, packing, plan, roofline, tracing, training
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

MISTRAL = {
    "model_type": "mistral",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "sliding_window": None,
    "tie_word_embeddings": False,
}
QWEN = {
    "model_type": "qwen2",
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
}
SHAPES = {"mistral-7b": MISTRAL, "qwen2.5-7b": QWEN}
# Precision, rank, batch, length, gradient checkpointing, recorded and fused.
COMBINATIONS = {
    "mistral-7b": [
        ("fp16", 8, 1, 256, False, True),
        ("fp16", 16, 4, 512, True, True),
        ("fp16", 64, 8, 512, True, False),
        ("nf4", 8, 1, 1024, False, True),
        ("nf4", 16, 8, 256, True, True),
        ("nf4", 32, 4, 512, False, False),
        ("nf4", 64, 16, 256, True, True),
    ],
    "qwen2.5-7b": [
        ("bf16", 16, 1, 1024, False, False),
        ("bf16", 32, 8, 256, True, True),
        ("bf16", 8, 4, 512, False, True),
        ("nf4", 8, 2, 512, False, True),
        ("nf4", 64, 4, 1024, True, True),
        ("nf4", 16, 16, 512, True, False),
    ],
}


def request(precision: str, rank: int, batch: int, checkpointing: bool, levers: bool) -> dict:
    settings = {
        "learning_rate": 1e-4,
        "schedule": "constant",
        "warmup_steps": 0,
        "steps": 8,
        "epochs": None,
        "batch_size": batch,
        "micro_batch_size": None,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optimizer": "adamw_torch_fused",
        "gradient_checkpointing": checkpointing,
        "fused_kernels": levers,
        "cuda_graphs": levers,
        "offload_embeddings": False,
        "logging_steps": 1,
    }
    return {
        "run": f"{precision}-r{rank}-s0",
        "precision": precision,
        "rank": rank,
        "seed": 0,
        "lora": {"alpha": 2.0 * rank, "dropout": 0.0, "rslora": False, "targets": "all-linear"},
        "compute_dtype": "auto",
        "training": settings,
    }


def examples(batch: int, length: int, count: int) -> list[dict]:
    """Examples of one length, the first third of each a prompt."""
    prompt = length // 3
    ids = torch.randint(0, 1000, (count * batch, length)).tolist()
    return [{"input_ids": row, "labels": [-100] * prompt + row[prompt:]} for row in ids]


def random_base(shape: dict, precision: str, device: torch.device):
    """A model of random weights on the card, its linear layers quantised one at a time where the precision is NF4."""
    options = dict(shape)
    config = AutoConfig.for_model(options.pop("model_type"), **options)
    dtype = models.STORED.get(precision, torch.float16)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=packing.ATTENTION)
    head = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear):
            continue
        weight = torch.randn(module.weight.shape, device=device, dtype=dtype).mul_(0.02)
        if precision == "nf4" and module is not head:
            layer = bnb.nn.Linear4bit(
                module.in_features,
                module.out_features,
                bias=module.bias is not None,
                compute_dtype=torch.float32,
                compress_statistics=True,
                quant_type="nf4",
                device="meta",
            )
            layer.weight = bnb.nn.Params4bit(
                weight, requires_grad=False, quant_type="nf4", compress_statistics=True, module=layer
            ).to(device)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer)
            module = layer
        else:
            module.weight = nn.Parameter(weight, requires_grad=False)
        if module.bias is not None:
            module.bias = nn.Parameter(torch.zeros(module.bias.shape, device=device, dtype=dtype), requires_grad=False)
    for module in model.modules():
        for kind in (module._parameters, module._buffers):
            for name, tensor in kind.items():
                if tensor is not None and tensor.is_meta:
                    fresh = torch.randn(tensor.shape, device=device, dtype=tensor.dtype).mul_(0.02)
                    kind[name] = (
                        nn.Parameter(fresh, requires_grad=False) if tensor is module._parameters.get(name) else fresh
                    )
    rotary = model.get_decoder().rotary_emb
    model.get_decoder().rotary_emb = type(rotary)(config, device=device)
    model.tie_weights()
    return model.requires_grad_(False)


def measure(model, wanted: dict, rows: list[dict], device: torch.device) -> tuple[float, float]:
    """Peak allocated GiB and median seconds of a step, of `training.fit` with a fresh adapter on the shared base."""
    dtype = models.compute_dtype("auto", wanted["precision"], device)
    with mock.patch("frontier.models.load", return_value=model):
        ready, levers = training.build(wanted, {}, dtype, device)
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    clock = training.Clock(wanted["run"], device)
    with tempfile.TemporaryDirectory() as folder:
        training.fit(wanted, ready, rows, clock, dtype, levers["cuda_graphs"], Path(folder))
    peak = torch.cuda.max_memory_allocated() / memory.GIB
    ends = [step["seconds"] for step in clock.history]
    del ready
    gc.collect()
    torch.cuda.empty_cache()
    return peak, statistics.median(later - earlier for earlier, later in itertools.pairwise(ends[2:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--predict-only", action="store_true", help="print predictions for an H200, without a card")
    options = parser.parse_args()
    device = torch.device("cuda", 0) if not options.predict_only else torch.device("cpu")
    if options.predict_only:
        from frontier import cards

        card = cards.find("H200")
        rates, kind = roofline.from_datasheet(card), tracing.Device(True, tuple(card["capability"]))
    else:
        start = time.perf_counter()
        rates = roofline.from_calibration(calibration.measure_device(device))
        kind = tracing.Device(True, torch.cuda.get_device_capability(device))
        print(json.dumps({"calibration_seconds": time.perf_counter() - start}), flush=True)
    results = []
    for name in options.shapes:
        combinations = sorted(COMBINATIONS[name], key=lambda one: one[0])
        shape = dict(SHAPES[name])
        config = AutoConfig.for_model(shape.pop("model_type"), **shape)
        base = loaded = None
        for precision, rank, batch, length, checkpointing, levers in combinations:
            wanted = request(precision, rank, batch, checkpointing, levers)
            rows = examples(batch, length, wanted["training"]["steps"])
            start = time.perf_counter()
            planner = plan.Planner(config, rows, kind, rates, None, plan.CONTEXT_GIB)
            predicted = planner.row(wanted)
            result = {
                "model": name,
                "precision": precision,
                "rank": rank,
                "batch": batch,
                "length": length,
                "checkpointing": checkpointing,
                "levers": levers,
                "predicted_gib": predicted["predicted_peak_gib"],
                "predicted_seconds": predicted["predicted_seconds_per_step"],
                "limited_by": predicted["limited_by"],
                "planning_seconds": time.perf_counter() - start,
            }
            if not options.predict_only:
                if loaded != precision:
                    base = None
                    gc.collect()
                    torch.cuda.empty_cache()
                    base, loaded = random_base(SHAPES[name], precision, device), precision
                peak, seconds = measure(without_adapter(base), wanted, rows, device)
                result |= {
                    "measured_gib": peak,
                    "measured_seconds": seconds,
                    "memory_error": predicted["predicted_peak_gib"] / peak - 1,
                    "time_error": predicted["predicted_seconds_per_step"] / seconds - 1,
                }
            results.append(result)
            print(json.dumps(result), flush=True)
    print(markdown(results))


def without_adapter(model):
    """The base as it was before an adapter, fused kernels and own forward passes were put on it."""
    for name, module in list(model.named_modules()):
        if hasattr(module, "base_layer"):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.base_layer)
    for module in model.modules():
        module.__dict__.pop("forward", None)
        module._forward_hooks.clear()
    if getattr(model, "is_gradient_checkpointing", False):
        model.gradient_checkpointing_disable()
    model.__dict__.pop("peft_config", None)
    return model.requires_grad_(False)


def markdown(results: list[dict]) -> str:
    lines = [
        "| model | base | rank | batch | length | checkpointing | graphs, fused | predicted GiB | measured | error "
        "| predicted s | measured | error |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        cells = [one["model"], one["precision"], one["rank"], one["batch"], one["length"]]
        cells += ["yes" if one[key] else "no" for key in ("checkpointing", "levers")]
        for kind, form, error in (("gib", "{:.2f}", "memory_error"), ("seconds", "{:.3f}", "time_error")):
            cells.append(form.format(one[f"predicted_{kind}"]))
            cells.append(form.format(one[f"measured_{kind}"]) if f"measured_{kind}" in one else "")
            cells.append(f"{one[error]:+.1%}" if error in one else "")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
