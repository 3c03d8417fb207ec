"""Predicted against measured growth of a training's resident memory on this machine's CPU.

    python benchmarks/check_plan_cpu.py --output check_plan_cpu.jsonl

The combinations are the embedded study's six runs and changes of it. Each is trained by Snakemake in a folder of its
own, as a user would, its growth read from the run's record: the peak of its steps less the resident set once the
libraries were there. Adds a JSON line for each as it ends and prints a table.

    python benchmarks/check_plan_cpu.py --again check_plan_cpu.jsonl

predicts again what an earlier check has measured.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from _path import ROOT

# Some 200 tokens before each question, for rows longer than any of the study's own.
_PREFACE = "A problem in words follows. Read all of it, then reason one step at a time and write the steps down. " * 10
_LONG = {"max_length": 1024, "template": _PREFACE + "Question: {question}\nAnswer: "}
CHANGES = {
    "the default": {},
    "batch 8": {"batch_size": 8, "data": {"train_examples": 80}},
    "checkpointing": {"gradient_checkpointing": True},
    "batch 2, 200 tokens longer": {"batch_size": 2, "data": {"train_examples": 20} | _LONG},
    "batch 8 by 4s, checkpointing, 200 tokens longer": {
        "batch_size": 8,
        "micro_batch_size": 4,
        "gradient_checkpointing": True,
        "data": {"train_examples": 80} | _LONG,
    },
}
COMBINATIONS = [
    *(("the default", f"{precision}-r{rank}-s0") for precision in ("fp16", "nf4") for rank in (8, 16, 32)),
    ("batch 8", "fp16-r32-s0"),
    ("batch 8", "nf4-r8-s0"),
    ("checkpointing", "fp16-r8-s0"),
    ("checkpointing", "nf4-r32-s0"),
    ("batch 2, 200 tokens longer", "nf4-r16-s0"),
    ("batch 8 by 4s, checkpointing, 200 tokens longer", "fp16-r16-s0"),
]


def write_config(change: str, run: str, folder: Path, steps: int) -> None:
    """The embedded study with one run, on the CPU, in a folder of its own that shares this one's cache."""
    from frontier.study import runs, schema

    settings = yaml.safe_load((ROOT / "config" / "config.yaml").read_text("utf-8"))
    for key, value in CHANGES[change].items():
        settings[key] = settings[key] | value if isinstance(value, dict) else value
    precision, rank, seed, _ = runs.parse_run(run, schema.resolve(settings))
    settings |= {"precisions": [precision], "ranks": [rank], "seeds": [seed]}
    settings |= {"steps": steps, "device": "cpu"}
    (folder / "config").mkdir()
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    (folder / "resources").mkdir()
    (ROOT / "resources" / "cache").mkdir(parents=True, exist_ok=True)
    (folder / "resources" / "cache").symlink_to(ROOT / "resources" / "cache")


def predict(folder: Path, run: str) -> dict:
    """The plan's row, from the folder's own tokens."""
    import torch
    from frontier.plan import calibration
    from frontier.plan.planner import open_planner
    from frontier.study import requests, schema

    study = schema.resolve(yaml.safe_load((folder / "config" / "config.yaml").read_text("utf-8")))
    os.chdir(folder)
    planner, _ = open_planner(study, calibration.present(torch.device("cpu")), Path("resources"))
    planner.limit_gib = None
    return planner.row(requests.training_request(study, run))


def measure(folder: Path, run: str) -> dict:
    """The run's record, in short: GiB, the growth from the end of the imports to the steps' peak, and seconds."""
    record = f"results/runs/{run}/training.json"
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    subprocess.run([*command, "--cores", "1", record], check=True, stdout=sys.stderr)
    found = json.loads((folder / record).read_text("utf-8"))
    outcome, imports = found["outcome"], found["outcome"]["phases"]["import"]["host_gib"]
    return {
        "peak_gib": outcome["peak_host_gib"],
        "imports_gib": imports,
        "growth_gib": outcome["peak_host_gib"] - imports,
        "seconds_per_step": outcome["train_seconds"] / outcome["steps"],
        "environment": found["environment"],
    }


def check(change: str, run: str, steps: int, measured: dict | None) -> dict:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_config(change, run, folder, steps)
        if measured is None:
            measured = measure(folder, run)
        else:
            tokens = "resources/tokens/train.parquet"
            command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
            subprocess.run([*command, "--directory", name, "--cores", "1", tokens], check=True, stdout=sys.stderr)
        predicted = predict(folder, run)
        os.chdir(ROOT)
    return {"change": change, "run": run, "steps": steps, "predicted": predicted, "measured": measured}


def table(lines: list[dict]) -> str:
    rows = [
        "| study | run | predicted growth, GiB | measured, GiB | error | peak, GiB | imports, GiB | s a step |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    errors = []
    for line in lines:
        predicted, found = line["predicted"]["allocated_gib"], line["measured"]
        errors.append(predicted / found["growth_gib"] - 1)
        rows.append(
            f"| {line['change']} | {line['run']} | {predicted:.2f} | {found['growth_gib']:.2f} | {errors[-1]:+.1%} "
            f"| {found['peak_gib']:.2f} | {found['imports_gib']:.2f} | {found['seconds_per_step']:.1f} |"
        )
    rows.append(f"\noff by {statistics.fmean(map(abs, errors)):.1%} on average, {max(errors, key=abs):+.1%} at worst")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("check_plan_cpu.jsonl"), help="file to add lines to")
    parser.add_argument("--steps", type=int, default=10, help="optimiser steps of each run")
    parser.add_argument("--again", type=Path, help="lines of an earlier check to predict again")
    options = parser.parse_args()
    source = options.again or options.output
    known = [json.loads(line) for line in source.read_text("utf-8").splitlines()] if source.exists() else []
    if options.again:
        print(table([check(one["change"], one["run"], one["steps"], one["measured"]) for one in known]))
        return
    output = options.output.resolve()
    for change, run in COMBINATIONS:
        if any((one["change"], one["run"]) == (change, run) for one in known):
            continue
        known.append(check(change, run, options.steps, None))
        with open(output, "a", encoding="utf-8") as file:
            file.write(json.dumps(known[-1]) + "\n")
    print(table(known))


if __name__ == "__main__":
    main()
