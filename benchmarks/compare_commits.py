"""Compare what two commits compute: `python benchmarks/compare_commits.py OLD [NEW]`.

Each commit is checked out into a folder of its own and runs the same small study there through Snakemake, on the CPU:
a random model, four precisions, two ranks, with LoRA's dropout, evaluation, accuracy and a plan for a named card. Then
every adapter, every loss and every column of the tables is compared, bit for bit; what is measured of the machine
(clocks, memory, dates, versions, digests) is left out. Prints `equal`, or each thing that differs, and ends with 1
then. Without NEW, the working tree stands for it.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import yaml
from _path import ROOT
from safetensors import safe_open

COPIED = ("Snakefile", "workflow", "config", "profiles", "envs")
TARGETS = ("results/summary.csv", "results/accuracy.csv", "results/plan.csv", "results/findings.json")
# Columns of a summary, a history or a plan that a clock, a meter or a name of the machine decides.
MEASURED = (
    "train_seconds load_seconds tokens_per_second peak_memory_gib peak_allocated_gib peak_reserved_gib peak_held_gib "
    "peak_device_gib peak_host_gib seconds host device notes pareto predicted_seconds predicted_peak_error "
    "predicted_seconds_error workflow_version"
).split()
CHANGES = {
    "precisions": ["fp32", "bf16", "fp16", "nf4"],
    "ranks": [2, 8],
    "steps": 6,
    "batch_size": 4,
    "micro_batch_size": 2,
    "learning_rate": 1.0e-2,
    "lora": {"alpha": "2r", "dropout": 0.1, "rslora": False, "targets": "all-linear"},
    "cpu_threads": 1,
    "device": "cpu",
    "accuracy": {"measure": True, "max_new_tokens": 12},
    "plan": {"card": "RTX 4090"},
}


def make_study(source: Path, folder: Path, model: Path) -> None:
    """Copy the workflow of a checkout into a study's folder, with the small model and its data."""
    import tiny

    for name in COPIED:
        copy = shutil.copytree if (source / name).is_dir() else shutil.copy
        copy(source / name, folder / name)
    tiny.write_sums(folder / "train.jsonl", count=40, seed=0)
    tiny.write_sums(folder / "validation.jsonl", count=12, seed=9)
    data = {"source": "jsonl", "train_file": "train.jsonl", "validation_file": "validation.jsonl", "max_length": 128}
    config = {"model": {"source": "path", "path": str(model)}, "data": data} | CHANGES
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def differences(old: Path, new: Path) -> list[str]:
    """Return a line for each thing that two finished studies computed and that is not the same."""
    found = []
    for path in sorted(old.glob("results/**/*")):
        name = path.relative_to(old)
        other = new / name
        if path.suffix not in (".safetensors", ".csv", ".parquet") or path.name == "calibration.json":
            continue
        if not other.exists():
            found.append(f"{name}: not made")
        elif path.suffix == ".safetensors":
            found += [f"{name}: {tensor}" for tensor in unlike_tensors(path, other)]
        else:
            found += [f"{name}: {column}" for column in unlike_columns(table(path), table(other))]
    found += [f"results/findings.json: {name}" for name in unlike_findings(old, new)]
    return found


def unlike_tensors(old: Path, new: Path) -> list[str]:
    with safe_open(old, "pt") as one, safe_open(new, "pt") as other:
        if set(one.keys()) != set(other.keys()):
            return ["other tensors"]
        return [name for name in one.keys() if not one.get_tensor(name).equal(other.get_tensor(name))]  # noqa: SIM118


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)


def unlike_columns(old: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    """Return the columns that are not measured of the machine and differ, in value or in being there."""
    names = [name for name in old if name not in MEASURED]
    return [name for name in names if name not in new or not old[name].equals(new[name])]


def unlike_findings(old: Path, new: Path) -> list[str]:
    """Return the claims about quality that are judged otherwise; clocks and memory differ by themselves."""
    one, other = (
        {claim["id"]: claim for claim in json.loads((folder / "results/findings.json").read_text("utf-8"))}
        for folder in (old, new)
    )
    quality = ("fp16_best_quality", "nf4_quality_gap", "rank_monotone", "diminishing_returns", "quantization_cost")
    return [name for name in quality if not _alike(one[name], other.get(name))]


def _alike(one, other) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and all(_alike(value, other.get(key)) for key, value in one.items())
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return one == other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old")
    parser.add_argument("new", nargs="?")
    arguments = parser.parse_args()
    import tiny

    with tempfile.TemporaryDirectory() as work:
        model = tiny.write_model(Path(work) / "model")
        studies = []
        for place, commit in (("old", arguments.old), ("new", arguments.new)):
            source, folder = ROOT, Path(work) / place
            if commit:
                source = Path(work) / f"{place}-source"
                subprocess.run(["git", "clone", "--quiet", ROOT, source], check=True)
                subprocess.run(["git", "-C", source, "checkout", "--quiet", commit], check=True)
            folder.mkdir()
            make_study(source, folder, model)
            print(f"{place}: {commit or 'the working tree'}", file=sys.stderr)
            # A plan counts the tokens where they are there, and estimates them where they are not yet.
            for targets in (["resources/tokens/tokens.json"], TARGETS):
                command = [sys.executable, "-m", "snakemake", "--cores", "1", *targets]
                subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            studies.append(folder)
        found = differences(*studies)
    print("\n".join(found) or "equal")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
