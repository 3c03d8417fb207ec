"""Seconds that planning and summing up take as a study grows: `python benchmarks/time_scale.py [RUNS ...]`.

The embedded study with more seeds, never run: its records are made up, each validation example's loss drawn at random.
Timed are `snakemake -n results/summary.csv` with nothing made (the whole plan), `snakemake -n` of one run's training
(what each job of a cluster does again on its node), the summary alone, from records to table, and the status while one
of the runs trains.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from _path import ROOT
from frontier import job_notes, records
from frontier.jobs import code_digest
from frontier.results import summary
from frontier.study import requests, schema
from frontier.study.identities import study_identities
from frontier.study.runs import precisions, run_names, varied

RANKS = [4, 8, 16, 32, 64]
EXAMPLES = 44


def study(runs: int) -> dict:
    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
    return shipped | {"ranks": RANKS, "seeds": list(range(runs // (2 * len(RANKS))))}


def plan(folder: Path, target: str) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-n", "--quiet", "all", "--", target]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def make_up(folder: Path, resolved: dict) -> dict:
    """Write every record and every loss of a study, as if it had been run; the job of its summary."""
    code = code_digest.script_digests()
    identities = study_identities(resolved, code)
    names, draw = run_names(resolved), np.random.default_rng(0)
    environment = {"device": "made up", "host": "made-up", "python": "3", "packages": {"torch": "2"}}
    losses = pd.DataFrame({"nll": draw.gamma(30, 3.0, EXAMPLES), "tokens": draw.integers(40, 120, EXAMPLES)})
    inputs = {"trainings": [], "evaluations": [], "losses": [], "baselines": [], "base_losses": []}

    def write(kind: str, path: Path, identity: str, request: dict, outcome: dict) -> None:
        record = {"digest": identity, "request": request, "outcome": outcome, "environment": environment}
        records.write_json(path, record)
        inputs[kind].append(str(path))

    for name in names:
        place = folder / "results/runs" / name
        cost = {"status": "ok", "train_seconds": draw.uniform(10, 20), "peak_memory_gib": draw.uniform(5, 6)}
        cost |= {"memory_metric": "cuda_allocated"}
        request = requests.training_request(resolved, name)
        write("trainings", place / "training.json", identities["training"](name), request, cost)
        own = losses.assign(nll=losses["nll"] * draw.uniform(0.8, 1.2))
        own.to_parquet(place / "nll.parquet")
        inputs["losses"].append(str(place / "nll.parquet"))
        loss = own["nll"].sum() / own["tokens"].sum()
        quality = {"status": "ok", "eval_loss": loss, "perplexity": np.exp(loss)}
        write("evaluations", place / "evaluation.json", identities["evaluation"](name), {"name": name}, quality)
    for precision in precisions(resolved):
        place = folder / "results/baselines" / precision / "evaluation.json"
        write("baselines", place, identities["baseline"](precision), {"name": precision}, {"perplexity": 5.0})
        losses.to_parquet(place.with_name("nll.parquet"))
        inputs["base_losses"].append(str(place.with_name("nll.parquet")))
    expected = {
        kind: [records.read_json(path)["digest"] for path in inputs[kind]]
        for kind in inputs
        if not kind.endswith("losses")
    }
    request = {"expected": expected, "budget": resolved["budget"], "varied": varied(resolved, names)}
    return {"input": inputs, "output": {"summary": str(folder / "results/summary.csv")}, "request": request}


def status(folder: Path, run: str) -> float:
    """Seconds that `make status` takes, beside the environment, while a run of the study trains."""
    log = folder / "results/runs" / run / "training.log"
    for record in log.parent.glob("*.json"):
        record.unlink()
    now = time.time()
    note = {"host": "made-up", "started_at": now - 60, "written_at": now, "line": "", "phase": "steady"}
    job_notes.write_running(log, note | {"step": 3, "steps": 10, "loss": 1.0, "seconds_left": 140.0})
    path = {"PYTHONPATH": str(ROOT / "workflow/scripts")}
    start = time.perf_counter()
    command = [sys.executable, "-m", "frontier.results.status", str(folder)]
    done = subprocess.run(command, check=True, env=os.environ | path, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    assert "1 running" in done.stdout, done.stdout
    return seconds


def main() -> None:
    for runs in map(int, sys.argv[1:] or (10, 100, 1000, 10000)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "config").mkdir()
            (folder / "config/config.yaml").write_text(yaml.safe_dump(study(runs), sort_keys=False))
            whole = plan(folder, "results/summary.csv")
            one = plan(folder, "results/runs/nf4-r8-s0/training.json")
            job = make_up(folder, schema.resolve(study(runs)))
            start = time.perf_counter()
            with open(os.devnull, "w") as nowhere:
                sys.stdout, shown = nowhere, sys.stdout
                summary.summarize_runs(job)
                sys.stdout = shown
            seconds = time.perf_counter() - start
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            looked = status(folder, "nf4-r8-s0")
            print(
                f"{runs} runs: plan {whole:.1f} s, one job's plan {one:.1f} s, summary {seconds:.1f} s, "
                f"status {looked:.1f} s ({peak:.2f} GiB); load {os.getloadavg()[0]:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
