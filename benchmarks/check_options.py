"""The options of a card held against real trainings: the named micro-batch runs, and the next larger is refused.

    python benchmarks/check_options.py --output check_options.jsonl

On a GPU, each combination has its memory capped as a budget caps it. The options are asked of a card of that size; a
model of random weights is made on the GPU, and trains two steps at the largest micro-batch that the options name, then
at one more example. Adds and prints a line for each training: how it `ended`, in `ran`, `oom`, or `unrecorded` where
the steps that CUDA graphs record were given up to stay within the budget. Prints a table at the end. Combinations of
one shape and precision share a process and a base; those that are to be refused come last in it, since one may leave
torch's allocator in disorder.

    python benchmarks/check_options.py --table check_options.jsonl

prints the table of the lines of an earlier check.
"""

import argparse
import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _path  # noqa: F401
from frontier.machine import launch

os.environ.update(launch.allocation(os.environ) | os.environ | {"HF_HUB_OFFLINE": "1"})

# Shape, precision, rank, length in tokens, checkpointing, GiB of the card; those of one base behind each other. Each
# is limited by its memory, and not by the most tokens that the options look at.
COMBINATIONS = (
    ("Qwen2.5-7B", "nf4", 16, 512, True, 8),
    ("Qwen2.5-7B", "nf4", 16, 2048, True, 12),
    ("Qwen2.5-7B", "nf4", 64, 512, False, 24),
    ("Qwen2.5-0.5B", "bf16", 16, 512, False, 6),
    ("Qwen2.5-0.5B", "bf16", 64, 2048, False, 6),
    ("Llama-3.2-1B", "nf4", 16, 512, False, 8),
    ("Llama-3.2-1B", "nf4", 64, 512, True, 6),
    ("Qwen3-4B", "nf4", 16, 512, True, 6),
    ("Qwen3-4B", "nf4", 64, 2048, False, 24),
    ("Llama-3.1-8B", "nf4", 16, 512, False, 12),
)
_KEYS = ("model", "precision", "rank", "length", "checkpointing", "gib")
_STEPS = 2


def named(combination: tuple, capability: tuple[int, int]) -> int:
    """The largest micro-batch that the options name for a card of that memory; 0 where they name none."""
    from frontier.plan import options
    from frontier.plan.planner import CONTEXT_GIB

    name, precision, rank, length, checkpointing, gib = combination
    place = options.Place(f"{gib} GB", float(gib), CONTEXT_GIB, capability, None)
    rows, _, _ = options.look(name, {}, [place], 1000, None, (precision,))
    wanted = {"precision": precision, "rank": rank, "length": length, "gradient_checkpointing": checkpointing}
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return found[0]["largest_micro_batch"] if found else 0


def trains(model, combination: tuple, examples: int, meter) -> dict:
    """How a few steps of so many examples at a time end within the cap, and the GiB held at the most."""
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
    device, levers = torch.device("cuda", 0), {}
    ids = [index % 1000 for index in range(length)]
    rows = [{"input_ids": ids, "labels": [-100, *ids[1:]]}] * (examples * _STEPS)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    try:
        set_memory_limit(gib, meter)
        dtype = dtypes.compute_dtype("auto", precision, device)
        ready, levers = build.build_model(model, request, dtype, Card(device))
        recorded = levers["cuda_graphs"]
        with tempfile.TemporaryDirectory() as folder:
            budget = capture_budget.CaptureBudget(gib, meter, levers)
            run = fit.Run(request, Clock(request["run"], device), Path(folder))
            fit.fit(run, ready, rows, recorded, budget=budget)
        ended = "ran" if levers["cuda_graphs"] == recorded else "unrecorded"
    except Exception as error:
        outcome = outcomes.from_error(error)
        if not outcome or outcome["status"] != outcomes.Status.OOM:
            raise
        ended = "oom"
    found = {"ended": ended, "base_gib": before / GIB, "outside_gib": meter.outside / GIB}
    found |= {
        "allocated_gib": torch.cuda.max_memory_allocated() / GIB,
        "reserved_gib": torch.cuda.max_memory_reserved() / GIB,
    }
    return found | {key: levers[key] for key in ("graphs_gib", "cuda_graphs_given_up") if key in levers}


def check_base(number: int, output: Path, signal: Path) -> None:
    """In a process of its own: all combinations of a base, the named micro-batches first."""
    import random_base
    import torch
    import transformers
    from frontier.machine.meter import open_meter
    from frontier.model.config_file import config_of
    from frontier.study import shapes

    transformers.logging.set_verbosity_error()
    group, device = groups()[number], torch.device("cuda", 0)
    # What the options need is imported while another base is checked.
    named(group[0], (9, 0))
    while not signal.exists():
        time.sleep(0.05)
    meter = open_meter(device)
    capability = torch.cuda.get_device_capability(device)
    largest = {one: named(one, capability) for one in group}
    base = random_base.build(config_of(shapes.find(group[0][0]), group[0][0]), group[0][1], device)
    code = random_base.snapshot(base)
    for one, more in [*((one, 0) for one in group if largest[one]), *((one, 1) for one in group)]:
        start = time.monotonic()
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        model = random_base.without_adapter(base, code)
        gc.collect()
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()
        line = dict(zip(_KEYS, one, strict=True)) | {"named": largest[one], "examples": largest[one] + more}
        line |= trains(model, one, largest[one] + more, meter)
        add_line(output, line | {"seconds": round(time.monotonic() - start, 1)})


def groups() -> list[list[tuple]]:
    """The combinations of each base."""
    return [[*group] for _, group in itertools.groupby(COMBINATIONS, key=lambda one: one[:2])]


def check(output: Path, seconds: float, names: list[str]) -> None:
    """Every base in a process of its own, all of which import meanwhile; none begins after so many seconds.

    With `names`, those of these shapes.
    """
    began = time.monotonic()
    numbers = [number for number, group in enumerate(groups()) if not names or group[0][0] in names]
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, f"--output={output}"]
        workers = {
            number: subprocess.Popen([*words, f"--base={number}", f"--signal={folder}/{number}"]) for number in numbers
        }
        for number, worker in workers.items():
            if time.monotonic() - began > seconds:
                print(f"no time was left for {groups()[number][0]}", flush=True)
                worker.kill()
                continue
            Path(folder, str(number)).touch()
            if worker.wait():
                print(f"{groups()[number][0]}: exit status {worker.returncode}", flush=True)
    print(f"{time.monotonic() - began:.0f} s", flush=True)


def table(lines: list[dict]) -> str:
    """The combinations as Markdown: the named micro-batch and how it ended, and how one more example did."""
    rows = [
        "| model | base | rank | length | checkpointing | card, GiB | batch named | it held, GiB | it | one more |",
        "|---|---|--:|--:|---|--:|--:|--:|---|---|",
    ]
    found: dict[tuple, dict[int, dict]] = {}
    for line in lines:
        found.setdefault(tuple(line[key] for key in _KEYS), {})[line["examples"] - line["named"]] = line
    for (model, precision, rank, length, checkpointing, gib), ends in found.items():
        first, more = ends.get(0, {}), ends.get(1, {})
        held = f"{first['reserved_gib'] + first['outside_gib']:.2f}" if first else ""
        cells = [model, precision, rank, length, "yes" if checkpointing else "no", gib]
        cells += [(first or more)["named"], held, first.get("ended", ""), more.get("ended", "")]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)


def add_line(output: Path, line: dict) -> None:
    with open(output, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("check_options.jsonl"), help="file that lines are added to")
    parser.add_argument("--seconds", type=float, default=150.0, help="no base begins after these")
    parser.add_argument("--table", type=Path, help="lines of an earlier check, of which the table is printed")
    parser.add_argument("--model", action="append", default=[], help="check this shape's combinations; several may be")
    parser.add_argument("--base", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--signal", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table:
        print(table(read_lines(options.table)))
    elif options.base is not None:
        check_base(options.base, options.output, options.signal)
    else:
        check(options.output, options.seconds, options.model)
        print(table(read_lines(options.output)))


if __name__ == "__main__":
    main()
