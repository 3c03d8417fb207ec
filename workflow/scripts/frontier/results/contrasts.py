"""Runs' losses set against each other on the examples and the seeds they share."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from frontier.errors import UserError
from frontier.results import uncertainty
from frontier.results.uncertainty import Interval

BASE = 0  # the rank of a base model before any training


@dataclass(frozen=True)
class Losses:
    """What `contrast` computes with: each run's column of `nll` (examples x runs) and of `resampled` (draws x runs).

    A configuration is (precision, rank), rank 0 the base model. `columns` has, for each, its seeds' columns; a base
    model, which has no seed, stands under None.
    """

    nll: np.ndarray
    tokens: np.ndarray
    resampled: np.ndarray
    columns: dict[tuple[str, int], dict[int | None, int]]

    def ranks(self, precision: str | None) -> list[int]:
        """The ranks measured at a precision, ascending, without the base model's 0."""
        return sorted(rank for name, rank in self.columns if name == precision and rank != BASE)


def gather(
    summary: pd.DataFrame, runs: dict[str, pd.DataFrame], baselines: dict[str, pd.DataFrame], draws=uncertainty.DRAWS
) -> Losses:
    """The losses of every run whose quality was measured, by run name, and of the base models, by precision.

    Each frame has `nll` and `tokens`, one row an example. Raises UserError where two differ in their examples.
    """
    measured = summary.dropna(subset=["eval_loss"])
    frames, columns = [], {}
    for row in measured.itertuples():
        if row.run in runs and len(runs[row.run]):
            columns.setdefault((row.precision, int(row.rank)), {})[int(row.seed)] = len(frames)
            frames.append((row.run, runs[row.run]))
    for precision, frame in sorted(baselines.items()):
        if len(frame) and np.isfinite(frame["nll"]).all():
            columns[precision, BASE] = {None: len(frames)}
            frames.append((f"the base {precision}", frame))
    if not frames:
        return Losses(np.empty((0, 0)), np.empty(0), np.empty((draws, 0)), {})
    first, frame = frames[0]
    for name, other in frames:
        if not np.array_equal(other["tokens"], frame["tokens"]):
            raise UserError(f"findings: {name} and {first} were evaluated on different examples; make both again")
    nll = np.column_stack([one["nll"].to_numpy(float) for _, one in frames])
    tokens = frame["tokens"].to_numpy(float)
    return Losses(nll, tokens, uncertainty.resample_losses(nll, tokens, draws), columns)


def common_seeds(losses: Losses, configurations) -> list[int | None]:
    """The seeds that every trained one of the configurations has; [None] where all are base models."""
    if any(one not in losses.columns for one in configurations):
        return []
    trained = [set(losses.columns[one]) for one in configurations if one[1] != BASE]
    return sorted(set.intersection(*trained)) if trained else [None]


def contrast(losses: Losses, weights: dict[tuple[str, int], float], alpha: float = 0.05) -> Interval | None:
    """The weighted sum of configurations' losses in nats a token, paired on seeds and examples; None if unmeasured.

    {a: 1} is a's loss, {a: 1, b: -1} how much higher than b's it is, {a: 1, b: -2, c: 1} a difference of differences.
    """
    seeds = common_seeds(losses, weights)
    if not seeds:
        return None
    factors = np.zeros((len(seeds), losses.nll.shape[1]))
    for row, seed in zip(factors, seeds, strict=True):
        for configuration, weight in weights.items():
            columns = losses.columns[configuration]
            row[columns[None if configuration[1] == BASE else seed]] += weight
    nll = factors @ losses.nll.T
    estimate = float(nll.sum(axis=1).mean() / losses.tokens.sum())
    if len(losses.tokens) < 2:
        return Interval(estimate, -np.inf, np.inf, np.inf, "one example, so no interval")
    if len(seeds) > 1:
        return uncertainty.over_seeds(nll, losses.tokens, alpha)
    interval = uncertainty.over_examples(estimate, losses.resampled @ factors[0], alpha)
    return replace(interval, basis="before training") if seeds == [None] else interval
