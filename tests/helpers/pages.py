"""A made-up study of every kind of run, as the files that the report and the figures are made from."""

import json
import math
from pathlib import Path

import pandas as pd
from tables import run_losses

HOSTILE = "<script>document.title='broken'</script> & <b>out of memory</b>"
UNFINISHED = {("fp16", 64): "oom", ("fp16", 32): "over_time", ("nf4", 64): "diverged"}
STUDY = {
    "model": {"source": "hub", "id": "example/model-7b"},
    "data": {"source": "jsonl", "train_file": "train.jsonl"},
    "precisions": ["fp16", "nf4"],
    "ranks": [8, 16, 32, 64],
    "seeds": [0, 1],
    "budget": {"memory_gib": 6, "hours": 24},
}
PUBLISHED = {"source": "Somebody's study", "date": "2024-01", "statement": "NF4 is ten times as fast.", "against": None}
ENVIRONMENT = {
    "host": "machine",
    "device": "NVIDIA GeForce RTX 4050",
    "python": "3.11.7",
    "packages": {"torch": "2.13.0", "peft": "0.21.2"},
    "git_commit": "0" * 40,
    "git_clean": True,
    "started_at": "2026-01-01T00:00:00+00:00",
}


def summary() -> pd.DataFrame:
    """Two precisions, four ranks, two seeds: an fp16 that runs out of memory and time, an nf4 that diverges once."""
    rows = []
    for precision, memory, hours, base in (("fp16", 15.4, 27.0, 4.96), ("nf4", 5.1, 2.6, 6.21)):
        for rank in STUDY["ranks"]:
            for seed in STUDY["seeds"]:
                status = UNFINISHED.get((precision, rank), "ok")
                perplexity = 3 + 0.8 * math.exp(-rank / 12) + 0.1 * (precision == "nf4") + 0.02 * seed
                ok = status == "ok"
                rows.append(
                    {
                        "run": f"{precision}-r{rank}-s{seed}",
                        "precision": precision,
                        "rank": rank,
                        "seed": seed,
                        "learning_rate": 2e-4,
                        "status": status,
                        "phase": None if ok else "train",
                        "reason": None if ok else HOSTILE,
                        "resumes": 0,
                        "perplexity": perplexity if ok else None,
                        "perplexity_low": perplexity - 0.12 if ok else None,
                        "perplexity_high": perplexity + 0.13 if ok else None,
                        "eval_loss": math.log(perplexity) if ok else None,
                        "base_perplexity": base,
                        "train_seconds": None if status == "oom" else 3600 * hours * (1 + rank / 300 + 0.01 * seed),
                        "peak_memory_gib": memory + rank / 40,
                        "memory_metric": "cuda_allocated",
                        "trainable_parameters": rank * 305_280,
                        "pareto": rank in (8, 32) if ok else None,
                        "fits": precision == "nf4" and rank < 32,
                        "device": ENVIRONMENT["device"],
                    }
                )
    return pd.DataFrame(rows)


def history(steps: int, level: float) -> pd.DataFrame:
    steps = range(1, steps + 1)
    losses = [level + 0.8 * math.exp(-step / 80) + 0.05 * math.sin(step) for step in steps]
    return pd.DataFrame({"step": steps, "loss": losses, "seconds": [20.0 * step for step in steps]})


def findings() -> list[dict]:
    def claim(name, verdict, sentence, runs=(), **values):
        evidence = {"runs": list(runs), "values": values, "interval": None}
        told = {"part": "study", "title": f"Title of {name}", "published": None}
        return {"id": name, "verdict": verdict, "sentence": sentence, "evidence": evidence} | told

    return [
        claim("fp16_exceeds_budget", "supported", "fp16 peaks at 15.60 GiB, over 6 GiB."),
        claim("nf4_within_budget", "contradicted", "nf4-r64-s0 peaks at 6.70 GiB, over 6 GiB."),
        claim("knee", "inconclusive", "No rank is told from another with two seeds."),
        claim("rank_memory", "not_measured", f"Not measured: {HOSTILE}."),
        claim(
            "recommendation",
            "supported",
            "Run nf4-r16-s1: the best perplexity inside 6 GiB.",
            ["nf4-r16-s0", "nf4-r16-s1"],
            run="nf4-r16-s1",
        ),
        claim("somebodys", "contradicted", "NF4 trains 0.96 times as fast.")
        | {"part": "others", "title": "NF4 is ten times as fast.", "published": PUBLISHED},
    ]


def write(folder: Path, table: pd.DataFrame | None = None, claims: list | None = None) -> dict:
    """Write the study's files under `folder` and return the job that makes its report."""
    table = summary() if table is None else table
    paths = {"histories": [], "losses": [], "trainings": []}
    for key, row in enumerate(table.itertuples()):
        place = folder / row.run
        place.mkdir(parents=True)
        history({"ok": 300, "over_time": 150, "diverged": 90, "oom": 0}[row.status], 0.9 - row.rank / 500).to_csv(
            place / "history.csv", index=False
        )
        measured = row.perplexity == row.perplexity and row.perplexity is not None
        losses = run_losses(row.perplexity, 0.1, key) if measured else pd.DataFrame({"nll": [], "tokens": []})
        losses.to_parquet(place / "nll.parquet")
        (place / "training.json").write_text(json.dumps({"environment": ENVIRONMENT}))
        paths["histories"].append(str(place / "history.csv"))
        paths["losses"].append(str(place / "nll.parquet"))
        paths["trainings"].append(str(place / "training.json"))
    table.to_csv(folder / "summary.csv", index=False)
    (folder / "findings.json").write_text(json.dumps(findings() if claims is None else claims))
    tokens = {"model": "f" * 64, "train": {"examples": 7473}, "validation": {"examples": 1319}}
    (folder / "tokens.json").write_text(json.dumps(tokens))
    (folder / "model.json").write_text(json.dumps({"folder": "models/m", "tokenizer": "models/t"}))
    paths |= {name: str(folder / file) for name, file in _FILES.items()}
    return {
        "digest": "",
        "request": {"study": STUDY},
        "input": paths,
        "output": {"report": str(folder / "report.html")},
    }


_FILES = {"summary": "summary.csv", "findings": "findings.json", "tokens": "tokens.json", "model": "model.json"}
