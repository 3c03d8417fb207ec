"""Made-up studies of several learning rates and settings, as figures and the report take them."""

import math

import pandas as pd
from frontier.results import columns, contrasts
from frontier.results.figures.canvas import Drawn
from pages import history
from tables import row, run_losses

RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)


def perplexity(precision: str, rank: int, rate: float, alpha: float = 2.0) -> float:
    """Lowest at a rate that falls with rank and with alpha; more of rank gains little."""
    best = math.log(2.4e-3) - 0.18 * math.log(rank / 8) - 0.3 * math.log(alpha / 2)
    loss = 0.66 + 0.02 * math.exp(-rank / 16) + 0.008 * (precision == "nf4") + 0.012 * (math.log(rate) - best) ** 2
    return math.exp(loss)


def sweep(
    rates=RATES, ranks=(8, 16, 32, 64), precisions=("fp16", "nf4"), seeds=(0, 1), alphas=(None,), **changes
) -> Drawn:
    """A study of every combination, with losses and histories; `changes` maps (precision, rank, rate) to a change."""
    rows, losses, histories = [], {}, {}
    for key, (alpha, precision, rank, rate, seed) in enumerate(
        (alpha, precision, rank, rate, seed)
        for alpha in alphas
        for precision in precisions
        for rank in ranks
        for rate in rates
        for seed in seeds
    ):
        value = perplexity(precision, rank, rate, 2.0 if alpha is None else alpha) * (1 + 0.0004 * seed)
        one = row(precision, rank, seed, value, base_perplexity=3.2 + 0.1 * (precision == "nf4"))
        one |= {"basis": "measured", "learning_rate": rate, "run": f"{one['run']}-lr{rate:g}"}
        memory = (15.0 if precision == "fp16" else 5.0) + rank / 30
        one |= {"peak_memory_gib": memory, "train_seconds": 9000 * (1 + rank / 300 + 0.004 * (key % 7))}
        if alpha is not None:
            one |= {"alpha": f"{alpha:g}r", "run": f"{one['run']}-alpha{alpha:g}r"}
        one |= changes.get("where", {}).get((precision, rank, rate), {})
        rows.append(one)
        if one["perplexity"] is not None:
            losses[one["run"]] = run_losses(one["perplexity"], 0.05, key, 200)
        histories[one["run"]] = history(200, 0.6 + key % 10 / 30)
    table = columns.in_order(pd.DataFrame(rows))
    return Drawn(table, histories, {"memory_gib": 12, "hours": None}, contrasts.gather(table, losses, {}, draws=1_000))


DIVERGED = {"status": "diverged", "perplexity": None, "eval_loss": None}
OOM = {"status": "oom", "perplexity": None, "eval_loss": None, "train_seconds": None}
