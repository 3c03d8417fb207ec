"""Made-up finished studies as folders with their records and losses, on cards of any name, with a known answer."""

from pathlib import Path

import numpy as np
import pandas as pd
from frontier import records
from tables import HOUR, row, run_losses

LIMITS = {"memory_gib": None, "hours": None, "max_perplexity": None}
BIG, SMALL = "Big Card", "Small Card"


def run(
    precision: str, rank: int, perplexity: float | None, gib: float, hours: float, seed: int = 0, **changes
) -> dict:
    """A run's row: its perplexity, what it held of its card, its hours, at one learning rate."""
    costs = {"peak_memory_gib": gib - 1, "peak_held_gib": gib, "train_seconds": hours * HOUR, "learning_rate": 1e-3}
    return row(precision, rank, seed, perplexity, **costs | changes)


# Without a limit fp16 on the big card is the best, within 10 GiB nf4 on the small one, which is slow, and within those
# and 2 hours nf4 on the big one.
ON_BIG = [run("fp16", 8, 2.0, 16, 1), run("nf4", 8, 2.2, 6, 1.2)]
ON_SMALL = [run("nf4", 16, 2.1, 8, 3)]


def write(
    folder: Path,
    rows: list[dict],
    card: str,
    model="m",
    data="d",
    examples=200,
    losses=True,
    noise=0.02,
    training=None,
    bases=True,
    start=0,
    width=0.03,
) -> Path:
    """Write a study under `folder`: its summary, each run's records and, unless told not to, the losses by example.

    `training` changes the settings of every run; a run's losses depend on its place in `rows`, from `start` on.
    `width` is how far the ends of the summary's intervals are from the perplexity, as a share of it.
    """
    table = pd.DataFrame(rows).assign(device=card)
    ends = {"perplexity_low": 1 - width, "perplexity_high": 1 + width}
    table = table.assign(**{name: table["perplexity"].astype(float) * factor for name, factor in ends.items()})
    for key, (_, one) in enumerate(table.iterrows(), start):
        place = folder / "results/runs" / one["run"]
        records.write_json(place / "training.json", training_record(one, card, model, data, examples, training or {}))
        request = {"name": one["run"], "batch_size": 8, "compute_dtype": "float32"}
        outcome = {"status": one["status"], "perplexity": None}
        records.write_json(place / "evaluation.json", {"code": "e", "request": request, "outcome": outcome})
        if losses and one["status"] == "ok":
            run_losses(one["perplexity"], noise, key, examples).to_parquet(place / "nll.parquet")
    for precision in sorted(set(table["precision"])) if losses and bases else ():
        place = folder / "results/baselines" / precision
        place.mkdir(parents=True, exist_ok=True)
        run_losses(4.0, noise, 1000 + ord(precision[0]), examples).to_parquet(place / "nll.parquet")
    table.to_csv(folder / "results/summary.csv", index=False)
    return folder


def training_record(one: pd.Series, card: str, model: str, data: str, examples: int, training: dict) -> dict:
    """A training's record, as far as what compares studies reads it."""
    settings = {"learning_rate": one.get("learning_rate", 1e-3), "epochs": 2.0, "steps": None, "batch_size": 4}
    known = {"source": {"source": "hub", "id": f"example/{model}"}, "digest": model}
    read = {"source": {"source": "jsonl", "train_file": f"{data}.jsonl"}, "files": {"train": data}}
    material = {"model": known, "data": {"examples": read, "request": {}, "validation": {"examples": examples}}}
    return {
        "code": "t",
        "request": {
            **{name: _plain(one[name]) for name in ("run", "precision", "rank", "seed")},
            "lora": {"alpha": 2.0 * one["rank"], "dropout": 0.0, "rslora": False, "targets": "all-linear"},
            "training": settings | training,
            "compute_dtype": "auto",
        },
        "material": material,
        "outcome": {"status": one["status"], "train_seconds": one["train_seconds"]},
        "environment": {"host": f"host of {card}", "device": card, "packages": {}},
    }


def pair(folder: Path, **of_small) -> list[str]:
    """Two studies on two cards, which may be compared unless `of_small` tells otherwise of the second."""
    write(folder / "big", ON_BIG, BIG)
    write(folder / "small", ON_SMALL, SMALL, **{"start": 10} | of_small)
    return [str(folder / "big"), str(folder / "small")]


def _plain(value):
    """A value of numpy as Python's own."""
    return value.item() if isinstance(value, np.generic) else value
