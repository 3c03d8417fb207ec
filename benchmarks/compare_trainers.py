"""Measure this project's training beside other trainers on the same work: rows, batch, adapter, optimiser.

    python benchmarks/compare_trainers.py measure MODEL ROWS nf4 ours --rank 16 --batch 8
    python benchmarks/compare_trainers.py compare MODEL ROWS nf4 unsloth trl --rounds 3 --lines lines.jsonl
    python benchmarks/compare_trainers.py levers MODEL ROWS nf4 --rounds 3 --lines lines.jsonl

MODEL is a folder with weights and tokenizer (make_model.py writes one of random weights); ROWS a JSON list of
{"input_ids", "labels"}, the prompt's labels -100. `measure` trains for some steps in this process and prints one
JSON line; `compare` measures ours and the peers in turn, each in a process of its own that (but on a CPU) imports its
libraries while the one before it is measured, keeps the lines and prints the ratios; `levers` does so for ours as it
is and without each of its levers. A peer (peft, trl, unsloth) is needed only where it is measured, from the environment
or, unsloth, from --unsloth-path.

Tokens are those of the examples, padding not counted; seconds those of the optimiser steps after the warm-up, forward
and backward pass included, data loading not. Memory is in GiB (2**30 bytes).
"""

import argparse
import gc
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import _path  # noqa: F401
from peers import DTYPES, train_peft, train_trl

GIB = 2**30
PEERS = ("peft", "trl", "unsloth")
# Unsloth patches transformers, and asks to come first.
IMPORTS = {
    "ours": ["frontier.run.train"],
    "peft": ["peft", "bitsandbytes"],
    "trl": ["trl", "peft", "bitsandbytes", "datasets"],
    "unsloth": ["unsloth", "trl", "datasets"],
}
# What `measure` is told for ours without one of its levers, and without any that makes it faster.
LEVERS = {
    "fused_kernels: false": ["--no-fused-kernels"],
    "cuda_graphs: false": ["--no-cuda-graphs"],
    "offload_embeddings: false": ["--no-offload"],
    "gradient_checkpointing: false": ["--no-checkpointing"],
    "optimizer: adamw_torch": ["--optimizer=adamw_torch"],
    "optimizer: adamw_8bit": ["--optimizer=adamw_8bit"],
    "none": ["--no-fused-kernels", "--no-cuda-graphs", "--no-offload", "--optimizer=adamw_torch"],
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("measure", "compare", "levers"):
        command = commands.add_parser(name)
        command.add_argument("model")
        command.add_argument("rows")
        command.add_argument("precision", choices=list(DTYPES))
        command.add_argument("--rank", type=int, default=16)
        command.add_argument("--batch", type=int, default=8, help="examples an optimiser step")
        command.add_argument("--steps", type=int, default=30)
        command.add_argument("--warmup", type=int, default=12, help="steps that the clock leaves out")
        command.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
        command.add_argument("--threads", type=int, help="of the CPU")
        command.add_argument("--cap-gib", type=float, help="what the CUDA allocator may take")
        command.add_argument("--peer-dtype", choices=["float32"], help="of the peers' products, where 16 bits are slow")
        command.add_argument("--no-checkpointing", dest="checkpointing", action="store_false")
    measure = commands.choices["measure"]
    measure.add_argument("trainer", choices=("ours", *PEERS))
    measure.add_argument("--no-fused-kernels", dest="fused_kernels", action="store_false", help="ours alone")
    measure.add_argument("--no-cuda-graphs", dest="cuda_graphs", action="store_false", help="ours alone")
    measure.add_argument("--no-offload", dest="offload_embeddings", action="store_false", help="ours alone")
    measure.add_argument("--no-liger", dest="liger", action="store_false", help="peft and trl")
    measure.add_argument("--micro-batch", type=int, help="ours alone")
    measure.add_argument("--optimizer", default="adamw_torch_fused")
    measure.add_argument("--profile", metavar="FOLDER", help="ours alone: write where three steps' time goes")
    measure.add_argument("--wait-for", metavar="FILE", help="begin when this file is there, imports apart")
    compare = commands.choices["compare"]
    compare.add_argument("peers", nargs="+", choices=PEERS)
    compare.add_argument("--unsloth-path", help="a folder that comes first on Unsloth's PYTHONPATH")
    compare.add_argument("--ours", default="", help="options of measure for ours alone, in one string")
    levers = commands.choices["levers"]
    levers.add_argument("--only", action="append", choices=LEVERS, help="not all of them; may be given again")
    for alternating in (compare, levers):
        alternating.add_argument("--rounds", type=int, default=3)
        alternating.add_argument("--lines", default="lines.jsonl", help="file that the raw lines are added to")
    return parser.parse_args()


# --------------------------------------------------------------------------------------------------------- compare


def compare(args: argparse.Namespace) -> None:
    paths = {"unsloth": args.unsloth_path}
    peers = {peer: partial(start, args, peer, [], paths.get(peer)) for peer in args.peers}
    alternate(args, {"ours": partial(start, args, "ours", args.ours.split(), None)} | peers)


def levers(args: argparse.Namespace) -> None:
    variants = {"ours": []} | {name: LEVERS[name] for name in args.only or LEVERS}
    alternate(args, {name: partial(start, args, "ours", options, None) for name, options in variants.items()})


def alternate(args: argparse.Namespace, starts: dict[str, Callable[[Path], subprocess.Popen]]) -> None:
    """Measure what each of `starts` starts, given the file to wait for, in turn and for so many rounds."""
    found: dict[str, list[dict]] = {name: [] for name in starts}
    order = list(found) * args.rounds
    with tempfile.TemporaryDirectory() as folder:
        signals = [Path(folder) / f"{position}.go" for position in range(len(order))]
        process = waiting = starts[order[0]](signals[0])
        try:
            for position, name in enumerate(order):
                process = waiting or starts[name](signals[position])
                signals[position].touch()
                # Imports take cores, which on a CPU are what is measured.
                ahead = args.device != "cpu" and position + 1 < len(order)
                waiting = starts[order[position + 1]](signals[position + 1]) if ahead else None
                line = read_line(process, name)
                found[name].append(line)
                with open(args.lines, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"round": position // len(found), "name": name} | line) + "\n")
        finally:
            for one in filter(None, (process, waiting)):
                one.kill()
    print(table(found))


def start(
    args: argparse.Namespace, trainer: str, own: list[str], first_path: str | None, signal: Path
) -> subprocess.Popen:
    """A `measure` with options of its `own`, in a process that has imported its libraries when `signal` is there."""
    options = [f"--{name}={getattr(args, name)}" for name in ("rank", "batch", "steps", "warmup", "device")]
    options += [f"--threads={args.threads}"] if args.threads else []
    options += [f"--cap-gib={args.cap_gib}"] if args.cap_gib else []
    options += [f"--peer-dtype={args.peer_dtype}"] if args.peer_dtype else []
    options += [] if args.checkpointing else ["--no-checkpointing"]
    command = [sys.executable, str(Path(__file__).resolve()), "measure", str(Path(args.model).resolve())]
    command += [str(Path(args.rows).resolve()), args.precision, trainer, *options, *own, f"--wait-for={signal}"]
    # Unsloth writes what it compiles into the folder it runs in, and finds it there the next time.
    folder = Path(tempfile.gettempdir()) / f"compare-{trainer}"
    folder.mkdir(exist_ok=True)
    path = ":".join(filter(None, [first_path, os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True)


def read_line(process: subprocess.Popen, name: str) -> dict:
    """What a `measure` printed; where it printed nothing, a line that says so."""
    output, _ = process.communicate()
    lines = [line for line in output.splitlines() if line.startswith("MEASURED ")]
    if not lines:
        return {"trainer": name, "status": f"failed with exit status {process.returncode}"}
    print(lines[-1], flush=True)
    return json.loads(lines[-1].removeprefix("MEASURED "))


def table(found: dict[str, list[dict]]) -> str:
    """Medians by trainer, and how much faster ours is than each peer: median, least and greatest over the rounds."""
    names = ("tokens_per_second", "step_ms", "peak_allocated_gib", "peak_reserved_gib", "device_used_gib", "host_gib")
    rows = ["| trainer | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for trainer, lines in found.items():
        done = [line for line in lines if line["status"] == "ok"]
        values = [[line[name] for line in done if line.get(name) is not None] for name in names]
        cells = [f"{statistics.median(value):g}" if value else "" for value in values]
        rows.append(f"| {trainer}{'' if done else ': ' + lines[-1]['status']} | " + " | ".join(cells) + " |")
    for peer in list(found)[1:]:
        ratios = [
            ours["tokens_per_second"] / theirs["tokens_per_second"]
            for ours, theirs in zip(found["ours"], found[peer], strict=True)
            if ours["status"] == theirs["status"] == "ok"
        ]
        if ratios:
            median, least, greatest = statistics.median(ratios), min(ratios), max(ratios)
            rows.append(f"\nours over {peer}: {median:.2f} times the speed ({least:.2f} to {greatest:.2f})")
    return "\n".join(rows)


# --------------------------------------------------------------------------------------------------------- measure


def measure_here(args: argparse.Namespace) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["UNSLOTH_DISABLE_STATISTICS"] = "1"
    if args.trainer == "ours":
        from frontier.machine import launch

        os.environ.update(launch.allocation(os.environ) | os.environ)
    for name in IMPORTS[args.trainer]:
        importlib.import_module(name)
    parent = os.getppid()
    while args.wait_for and not Path(args.wait_for).exists():
        if os.getppid() != parent:
            sys.exit("what this waits for will not come")
        time.sleep(0.05)
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    if args.threads:
        torch.set_num_threads(args.threads)
    rows = json.loads(Path(args.rows).read_text("utf-8"))
    rows = (rows * -(-args.batch * (args.steps + 2) // len(rows)))[: args.batch * (args.steps + 2)]
    on_gpu = args.device == "cuda"
    if args.cap_gib:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(args.cap_gib * GIB / total)
    line = {
        key: value
        for key, value in vars(args).items()
        if key not in ("command", "model", "rows", "profile", "wait_for")
    }
    train = {"ours": train_ours, "peft": train_peft, "trl": train_trl, "unsloth": train_trl}[args.trainer]
    steps: list[tuple[float, int]] = []
    try:
        extra = train(args, rows, steps)
        kept = steps[args.warmup :]
        seconds = [step for step, _ in kept]
        speed = sum(tokens for _, tokens in kept) / sum(seconds)
        line |= {
            "status": "ok",
            "tokens_per_second": round(speed),
            "step_ms": round(1000 * statistics.median(seconds), 1),
        }
        line |= extra or {}
    except torch.OutOfMemoryError as error:
        line |= {"status": "oom", "error": str(error)[:160]}
    line["step_seconds"] = [round(seconds, 4) for seconds, _ in steps]
    line["host_gib"] = round(peak_resident() / GIB, 2)
    if on_gpu:
        free, total = torch.cuda.mem_get_info()
        line |= {
            "peak_allocated_gib": round(torch.cuda.max_memory_allocated() / GIB, 2),
            "peak_reserved_gib": round(torch.cuda.max_memory_reserved() / GIB, 2),
            "device_used_gib": round((total - free) / GIB, 2),
            "device_name": torch.cuda.get_device_name(),
        }
    print("MEASURED", json.dumps(line), flush=True)


def peak_resident() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def train_ours(args, rows: list[dict], steps: list) -> dict:
    """The workflow's own loading, training step and clock, on rows instead of a study's tokens."""
    from frontier import records
    from frontier.machine import phases
    from frontier.machine.device import open_device, synchronize
    from frontier.model import bases, dtypes
    from frontier.model.card import Card
    from frontier.run import build, fit
    from frontier.run.clock import Clock
    from frontier.study import requests, schema

    study = schema.resolve(
        {
            "model": {"source": "path", "path": args.model},
            "data": {"source": "jsonl", "train_file": args.rows},
            "device": args.device,
            "cpu_threads": args.threads,
            "steps": args.steps,
            "batch_size": args.batch,
            "micro_batch_size": args.micro_batch,
            "learning_rate": 2e-4,
            "schedule": "linear",
            "gradient_checkpointing": args.checkpointing,
            "fused_kernels": args.fused_kernels,
            "cuda_graphs": args.cuda_graphs,
            "offload_embeddings": args.offload_embeddings,
            "optimizer": args.optimizer,
        }
    )
    device = open_device(args.device, args.threads)
    request = requests.training_request(study, f"{args.precision}-r{args.rank}-s0")
    dtype = dtypes.compute_dtype("auto", args.precision, device)
    folder = Path(args.model).resolve()
    files = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in folder.iterdir())
    fetched = {"folder": str(folder), "digest": records.digest(files), "files": {}, "stamps": {}}
    base = bases.convert(fetched, args.precision, device)
    gc.collect()
    phases.reset_peaks(device)
    begin = time.perf_counter()
    model, levers = build.build_model(build.load_base(base, device), request, dtype, Card(device))
    synchronize(device)
    load_seconds = time.perf_counter() - begin
    clock = Clock("ours", device)
    with tempfile.TemporaryDirectory() as folder, profiled(args, clock):
        fit.fit(fit.Run(request, clock, Path(folder)), model, rows, levers["cuda_graphs"])
    before = (0.0, 0)
    for step in clock.history:
        now = (step["seconds"], step["tokens"])
        steps.append((now[0] - before[0], now[1] - before[1]))
        before = now
    return {"load_seconds": round(load_seconds, 1), "final_loss": clock.history[-1]["loss"]} | levers


class profiled:
    """While open, has a clock's last three steps profiled and written to a folder; without one it does nothing."""

    def __init__(self, args, clock):
        self.args, self.clock = args, clock

    def __enter__(self):
        if not self.args.profile:
            return
        from torch.profiler import ProfilerActivity, profile

        begin, end = self.clock.on_step_begin, self.clock.on_step_end
        profiler = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])

        def on_step_begin(arguments, state, control, **kwargs):
            if state.global_step == self.args.steps - 3:
                profiler.start()
            begin(arguments, state, control, **kwargs)

        def on_step_end(arguments, state, control, **kwargs):
            end(arguments, state, control, **kwargs)
            if state.global_step == self.args.steps:
                profiler.stop()
                folder = Path(self.args.profile)
                folder.mkdir(parents=True, exist_ok=True)
                averages = profiler.key_averages()
                for column in ("self_cuda_time_total", "self_cpu_time_total"):
                    text = averages.table(sort_by=column, row_limit=60, max_name_column_width=100)
                    (folder / f"{column}.txt").write_text(text, encoding="utf-8")

        self.clock.on_step_begin, self.clock.on_step_end = on_step_begin, on_step_end

    def __exit__(self, *_):
        return False


if __name__ == "__main__":
    arguments = parse_arguments()
    {"measure": measure_here, "compare": compare, "levers": levers}[arguments.command](arguments)
