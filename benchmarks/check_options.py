"""The options of a card held against real trainings: the named micro-batch runs, and the next larger is refused.

    python benchmarks/check_options.py --output check_options.jsonl

On a GPU, each combination has its memory capped as a budget caps it. The options are asked of a card of that size; a
model of random weights is made on the GPU, and trains two steps at the largest micro-batch that the options name, then
at one more example. Prints and adds a line each: `ran` and `refused` are both to be true. A combination of one shape
and precision follows another in one process, and shares its base.
"""

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import _path  # noqa: F401
from frontier.machine import launch

os.environ.update(launch.allocation(os.environ) | os.environ | {"HF_HUB_OFFLINE": "1"})

# Shape, precision, rank, length in tokens, checkpointing, GiB of the card; those of one base behind each other.
COMBINATIONS = (
    ("Qwen2.5-0.5B", "bf16", 16, 512, False, 6),
    ("Qwen2.5-0.5B", "bf16", 64, 2048, True, 6),
    ("Llama-3.2-1B", "nf4", 16, 512, False, 8),
    ("Llama-3.2-1B", "nf4", 64, 512, True, 6),
    ("Qwen3-4B", "nf4", 16, 512, True, 6),
    ("Qwen3-4B", "nf4", 64, 2048, False, 24),
    ("Qwen2.5-7B", "nf4", 16, 512, True, 8),
    ("Qwen2.5-7B", "nf4", 16, 2048, True, 12),
    ("Qwen2.5-7B", "nf4", 64, 512, False, 24),
    ("Llama-3.1-8B", "nf4", 16, 512, False, 12),
)
_STEPS = 2


def named(combination: tuple, capability: tuple[int, int], context_gib: float) -> int:
    """The largest micro-batch that the options name for a card of that memory; 0 where they name none."""
    from frontier.plan import options

    name, precision, rank, length, checkpointing, gib = combination
    place = options.Place(f"{gib} GB", float(gib), context_gib, capability, None)
    rows, _, _ = options.look(name, {}, [place], 1000, None, (precision,))
    wanted = {"precision": precision, "rank": rank, "length": length, "gradient_checkpointing": checkpointing}
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return found[0]["largest_micro_batch"] if found else 0


def trains(model, combination: tuple, examples: int, meter) -> tuple[bool, float]:
    """Whether a few steps of so many examples at a time go through within the cap, and the GiB held at the most."""
    import torch
    from frontier import outcomes
    from frontier.machine import capture_budget
    from frontier.machine.limits import set_memory_limit
    from frontier.model import dtypes
    from frontier.model.card import Card
    from frontier.run import build, fit
    from frontier.run.clock import Clock
    from frontier.study import requests, schema
    from frontier.units import GIB

    _, precision, rank, length, checkpointing, gib = combination
    study = schema.resolve(
        {
            "model": {"source": "architecture", "config": {"model_type": "llama"}},
            "data": {"source": "reasoning-gym", "train_examples": 8, "validation_examples": 8},
            "steps": _STEPS,
            "batch_size": examples,
            "gradient_checkpointing": checkpointing,
        }
    )
    request = requests.training_request(study, f"{precision}-r{rank}-s0")
    device = torch.device("cuda", 0)
    ids = [index % 1000 for index in range(length)]
    rows = [{"input_ids": ids, "labels": ids}] * (examples * _STEPS)
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    set_memory_limit(gib, meter)
    try:
        dtype = dtypes.compute_dtype("auto", precision, device)
        ready, levers = build.build_model(model, request, dtype, Card(device))
        with tempfile.TemporaryDirectory() as folder:
            budget = capture_budget.CaptureBudget(None, meter, levers)
            run = fit.Run(request, Clock(request["run"], device), Path(folder))
            fit.fit(run, ready, rows, levers["cuda_graphs"], budget=budget)
        ran = True
    except Exception as error:
        outcome = outcomes.from_error(error)
        if not outcome or outcome["status"] != outcomes.Status.OOM:
            raise
        ran = False
    return ran, (torch.cuda.max_memory_reserved() + meter.outside) / GIB


def check(output: Path, seconds: float) -> None:
    """Every combination for which there is time, in this process."""
    import random_base
    import torch
    import transformers
    from frontier.machine.meter import open_meter
    from frontier.model.config_file import config_of
    from frontier.study import shapes
    from frontier.units import GIB

    transformers.logging.set_verbosity_error()
    began, device = time.monotonic(), torch.device("cuda", 0)
    torch.zeros(1, device=device)
    meter, made, base = open_meter(device), None, None
    code: dict = {}
    for combination in COMBINATIONS:
        if time.monotonic() - began > seconds:
            sys.exit(f"no time was left from {combination} on")
        if made != combination[:2]:
            base = None
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(1.0, device)
            base = random_base.build(config_of(shapes.find(combination[0]), combination[0]), combination[1], device)
            made, code = combination[:2], random_base.snapshot(base)
        largest = named(combination, torch.cuda.get_device_capability(device), meter.outside / GIB)
        line = dict(zip(("model", "precision", "rank", "length", "checkpointing", "gib"), combination, strict=True))
        line |= {"largest_micro_batch": largest}
        if largest:
            model = random_base.without_adapter(base, code)
            line["ran"], line["held_gib"] = trains(model, combination, largest, meter)
        model = random_base.without_adapter(base, code)
        goes, _ = trains(model, combination, largest + 1, meter)
        line |= {"refused": not goes, "seconds": round(time.monotonic() - began, 1)}
        with open(output, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("check_options.jsonl"), help="file that lines are added to")
    parser.add_argument("--seconds", type=float, default=110.0, help="no combination begins after these")
    options = parser.parse_args()
    check(options.output, options.seconds)


if __name__ == "__main__":
    main()
