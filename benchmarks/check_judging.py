"""The memory and the time of evaluations and accuracies, measured on the GPU that is there.

    python benchmarks/check_judging.py --output check_judging.jsonl

Models of random weights are made on the GPU, with an adapter, and judged as the two jobs judge: losses of a batch in
float32, then greedy answers to a batch of prompts. Adds and prints a line for each.
"""

import argparse
import gc
import json
import os
import time
from pathlib import Path

import _path  # noqa: F401
from frontier.machine import launch

os.environ.update(launch.allocation(os.environ) | os.environ | {"HF_HUB_OFFLINE": "1"})

# Shape, precision, the budget in GiB or None: of a quarter of it weights are kept in float32, of more they are not.
COMBINATIONS = (
    ("Qwen2.5-0.5B", "bf16", None),
    ("Qwen2.5-0.5B", "bf16", 4),
    ("Qwen2.5-7B", "nf4", 24),
    ("Llama-3.1-8B", "nf4", 24),
)
RANK = 16
EXAMPLES, LENGTH = 8, 512
PROMPTS, PROMPT_LENGTH, NEW_TOKENS = 16, 128, 48


class _Words:
    """A tokenizer as far as answers need one that end nowhere."""

    def decode(self, tokens, **_) -> str:
        return ""


def measure(config, precision: str, budget_gib: float | None, device) -> list[dict]:
    """A line of the losses and one of the answers."""
    import random_base
    import torch
    from frontier.model.execution import UNPROVED
    from frontier.run import build, evaluation, perplexity
    from frontier.run.asked import Ends
    from frontier.run.generation import answers_of
    from frontier.study import requests, schema
    from frontier.units import GIB

    study = schema.resolve(
        {
            "model": {"source": "architecture", "config": {"model_type": "llama"}},
            "data": {"source": "reasoning-gym", "train_examples": 8, "validation_examples": 8},
            "steps": 1,
        }
    )
    request = requests.training_request(study, f"{precision}-r{RANK}-s0")
    base = random_base.build(config, precision, device)
    gc.collect()
    torch.cuda.empty_cache()
    job = {"request": {"compute_dtype": "float32"}, "limits": {"memory_gib": budget_gib}}
    model = build.build_adapter(base, request["lora"], RANK, 0)
    evaluation.ready(model, job, device, UNPROVED)
    ids = [index % 1000 for index in range(LENGTH)]
    rows = [{"input_ids": ids, "labels": [-100, *ids[1:]]}] * EXAMPLES

    def losses() -> None:
        perplexity.example_losses(base, rows, EXAMPLES, device)

    def answers() -> None:
        prompts = [ids[:PROMPT_LENGTH]] * PROMPTS
        list(answers_of(base, _Words(), prompts, NEW_TOKENS, Ends((config.vocab_size - 1,), ""), device))

    lines = []
    for kind, work, attention in (("losses", losses, "packed"), ("answers", answers, "sdpa")):
        base.set_attn_implementation(attention)
        work()
        torch.cuda.empty_cache()
        static = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        line = {"kind": kind, "seconds": time.perf_counter() - start, "static_gib": static / GIB}
        line |= {"peak_allocated_gib": torch.cuda.max_memory_allocated() / GIB}
        lines.append(line | {"peak_reserved_gib": torch.cuda.max_memory_reserved() / GIB})
    return lines


def check(output: Path) -> None:
    """Every combination in this process."""
    import torch
    import transformers
    from frontier.model.config_file import config_of
    from frontier.study import shapes

    transformers.logging.set_verbosity_error()
    device = torch.device("cuda", 0)
    for name, precision, budget in COMBINATIONS:
        config = config_of(shapes.find(name), name)
        for line in measure(config, precision, budget, device):
            text = json.dumps({"model": name, "precision": precision, "budget_gib": budget} | line)
            with open(output, "a", encoding="utf-8") as file:
                file.write(text + "\n")
            print(text, flush=True)
        gc.collect()
        torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("check_judging.jsonl"), help="file that lines are added to")
    check(parser.parse_args().output)


if __name__ == "__main__":
    main()
