"""Made-up summaries and per-example losses whose every mean is exactly what a test asks for."""

import numpy as np
import pandas as pd
from frontier.results import contrasts, findings
from frontier.results.claims.claim import Evidence

HOUR = 3600
NO_LIMITS = {"memory_gib": None, "hours": None}
SIX = {"budget": {"memory_gib": 6, "hours": None}}
OOM = {"status": "oom", "peak_memory_gib": None, "train_seconds": None}


def run_losses(perplexity: float, noise: float, key: int, examples: int = 200) -> pd.DataFrame:
    """Losses whose perplexity is exact, all runs' alike but for noise of a standard deviation in nats a token."""
    shared, own = np.random.default_rng(1), np.random.default_rng([2, key])
    tokens = np.round(shared.lognormal(4.5, 0.5, examples))
    rate = 0.3 * shared.lognormal(0, 0.5, examples) + noise * own.standard_normal(examples)
    rate += np.log(perplexity) - rate @ tokens / tokens.sum()
    return pd.DataFrame({"nll": rate * tokens, "tokens": tokens.astype(int)})


def row(precision: str, rank: int, seed: int, perplexity: float | None, **changes) -> dict:
    """A summary's row; `changes` replaces what it would say by default."""
    values = {
        "run": f"{precision}-r{rank}-s{seed}",
        "precision": precision,
        "rank": rank,
        "seed": seed,
        "status": "ok",
        "four_bit_share": 0.99 if precision in ("nf4", "fp4") else None,
        "perplexity": perplexity,
        "eval_loss": None if perplexity is None else float(np.log(perplexity)),
        "train_seconds": 2.5 * HOUR,
        "peak_memory_gib": 5.0,
        "peak_held_gib": None,
        "memory_metric": "cuda_allocated",
        "device": "a card",
        "predicted_peak_error": None,
        "predicted_seconds_error": None,
    }
    return values | changes


def results(
    rows: list[dict],
    noise: float = 0.1,
    bases: dict[str, float] | None = None,
    examples: int = 200,
    budget: dict = NO_LIMITS,
    recommend: dict | None = None,
    histories: dict[str, pd.DataFrame] | None = None,
    targets: dict | None = None,
    shipping: pd.DataFrame | None = None,
) -> Evidence:
    """Results of rows and of base models' perplexities, in the state in which findings.run hands them on."""
    columns = list(dict.fromkeys([*row("nf4", 8, 0, None), *(name for one in rows for name in one)]))
    summary = pd.DataFrame(rows, columns=columns)
    summary[["perplexity", "eval_loss"]] = summary[["perplexity", "eval_loss"]].astype(float)
    empty = pd.DataFrame({"nll": [], "tokens": []})
    runs = {
        one["run"]: empty if one["perplexity"] is None else run_losses(one["perplexity"], noise, key, examples)
        for key, one in enumerate(rows)
    }
    baselines = {
        precision: run_losses(perplexity, noise, 1000 + key, examples)
        for key, (precision, perplexity) in enumerate((bases or {}).items())
    }
    losses = contrasts.gather(summary, runs, baselines, draws=2_000)
    limits = NO_LIMITS | {"max_perplexity": None} | (recommend or {})
    return Evidence(summary, losses, budget, limits, histories or {}, targets or {}, shipping)


def curve(precision: str, perplexities: dict[int, float | None], seeds=(0,), **changes) -> list[dict]:
    """Rows of one precision: rank to perplexity, the same for each seed."""
    return [row(precision, rank, seed, one, **changes) for seed in seeds for rank, one in perplexities.items()]


def study(**changes) -> Evidence:
    """Shaped as the published study tells of itself: 16-bit best, much from rank 8 to 16, little from 16 to 32."""
    memory, hours = {8: 5.0, 16: 7.0, 32: 10.0}, {8: 2.0, 16: 2.5, 32: 3.0}
    rows = [row("fp16", 16, 0, 3.0, train_seconds=31 * HOUR, peak_memory_gib=15.5, status="spilled")]
    rows += [
        row("nf4", rank, 0, perplexity, peak_memory_gib=memory[rank], train_seconds=hours[rank] * HOUR)
        for rank, perplexity in {8: 4.0, 16: 3.3, 32: 3.29}.items()
    ]
    return results(rows, **{"budget": {"memory_gib": 6, "hours": None}} | changes)


def sized(precision: str, peaks: dict[int, float | None], **changes) -> list[dict]:
    return [row(precision, rank, 0, 3.0, peak_memory_gib=peak, **changes) for rank, peak in peaks.items()]


def judged(name: str, table) -> dict:
    """A claim by its id or, of what only others state, by the id of its judge."""
    return next(one for one in findings.state(table) if name in (one["id"], (one["published"] or {}).get("judge")))
