"""Set runs' losses against each other on the examples and the seeds that they share."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from frontier.errors import UserError
from frontier.results import uncertainty
from frontier.results.configurations import Configuration
from frontier.results.seeds import SeedSpread, seed_spread
from frontier.results.uncertainty import Interval


@dataclass(frozen=True)
class Losses:
    """The losses that `contrast` computes with.

    `nll` (examples x runs, summed nats) and `resampled` (draws x runs, nats a token) have a column for each run,
    `tokens` the answer tokens of each example. `columns` has, for each configuration, its column by seed; a base model,
    which has no seed, has its one column under None. `seeds` is what other seeds would do, where that is known.
    `picked` has, for an arm at the best of its rates, the error in nats a token that the pick adds to its loss.
    """

    nll: np.ndarray
    tokens: np.ndarray
    resampled: np.ndarray
    columns: dict[Configuration, dict[int | None, int]]
    seeds: SeedSpread | None = None
    picked: dict[Configuration, float] = field(default_factory=dict)

    def trained(self, precision: str | None) -> list[Configuration]:
        """Return the configurations that were trained and measured at a precision, by ascending rank."""
        return sorted(one for one in self.columns if one.precision == precision and not one.is_base)


def gather(
    summary: pd.DataFrame, runs: dict[str, pd.DataFrame], baselines: dict[str, pd.DataFrame], draws=uncertainty.DRAWS
) -> Losses:
    """Return the losses of every run whose quality was measured, and of the base models.

    `runs` has a frame for each run's name, `baselines` one for each precision, with `nll` and `tokens`, one row an
    example. One with a loss that is not finite is left out whole: zero times it would be no number in any contrast.
    Raises UserError where two frames differ in their examples.
    """
    frames: list[tuple[str, pd.DataFrame]] = []
    columns: dict[Configuration, dict[int | None, int]] = {}
    for _, row in summary.dropna(subset=["eval_loss"]).iterrows():
        if row["run"] in runs and is_measured(runs[row["run"]]):
            columns.setdefault(Configuration.of_row(row), {})[int(row["seed"])] = len(frames)
            frames.append((row["run"], runs[row["run"]]))
    for precision, frame in sorted(baselines.items()):
        if is_measured(frame):
            columns[Configuration.base(precision)] = {None: len(frames)}
            frames.append((f"the base {precision}", frame))
    if not frames:
        return Losses(np.empty((0, 0)), np.empty(0), np.empty((draws, 0)), {})
    _refuse_other_examples(frames)
    nll = np.column_stack([frame["nll"].to_numpy(float) for _, frame in frames])
    tokens = frames[0][1]["tokens"].to_numpy(float)
    return with_seeds(Losses(nll, tokens, uncertainty.resample_losses(nll, tokens, draws), columns))


def with_seeds(losses: Losses) -> Losses:
    """Return the same losses with what other seeds would do, as those of all its trained configurations tell."""
    level = (losses.nll.sum(axis=0) / losses.tokens.sum()).tolist()
    trained = {one: by_seed for one, by_seed in losses.columns.items() if not one.is_base}
    known = {one: {seed: level[place] for seed, place in by_seed.items()} for one, by_seed in trained.items()}
    return replace(losses, seeds=seed_spread(known))


def is_measured(frame: pd.DataFrame) -> bool:
    """Return whether there are losses and all of them are finite."""
    return bool(len(frame)) and bool(np.isfinite(frame["nll"]).all())


def _refuse_other_examples(frames: list[tuple[str, pd.DataFrame]]) -> None:
    """Raise UserError where a frame's examples are not the first one's, as their token counts tell."""
    first, reference = frames[0]
    for name, frame in frames:
        if not np.array_equal(frame["tokens"], reference["tokens"]):
            raise UserError(f"findings: {name} and {first} were evaluated on different examples; make both again")


def common_seeds(losses: Losses, configurations: Collection[Configuration]) -> list[int | None]:
    """Return the seeds that every trained one of the configurations has; [None] where all are base models."""
    if any(one not in losses.columns for one in configurations):
        return []
    trained = [set(losses.columns[one]) for one in configurations if not one.is_base]
    return sorted(set.intersection(*trained)) if trained else [None]


def contrast(losses: Losses, weights: Mapping[Configuration, float], alpha: float = 0.05) -> Interval | None:
    """Return the weighted sum of configurations' losses in nats a token, paired on seeds and examples.

    {a: 1} is a's loss, {a: 1, b: -1} how much higher than b's it is, {a: 1, b: -2, c: 1} a difference of differences.
    Returns None where one of them was not measured, or where they have no seed in common.
    """
    seeds = common_seeds(losses, weights)
    if not seeds:
        return None
    factors = _factors(losses, weights, seeds)
    nll = factors @ losses.nll.T
    estimate = float(nll.sum(axis=1).mean() / losses.tokens.sum())
    if len(losses.tokens) < 2:
        return Interval(estimate, -np.inf, np.inf, np.inf, "one example, so no interval")
    if len(seeds) > 1:
        interval = uncertainty.over_seeds(nll, losses.tokens, alpha, seeds_parts(losses, weights))
    else:
        interval = uncertainty.over_examples(estimate, losses.resampled @ factors[0], alpha)
    error = float(np.hypot.reduce([weight * losses.picked.get(one, 0) for one, weight in weights.items()]))
    interval = uncertainty.with_error(interval, error, alpha) if error else interval
    return replace(interval, basis="before training") if seeds == [None] else interval


def seeds_parts(losses: Losses, weights: Mapping[Configuration, float]) -> uncertainty.Parts | None:
    """Return what another seed would do to the sum: to all configurations alike, and to each beyond that.

    Returns None where nothing is known of other seeds but what the sum itself shows.
    """
    if losses.seeds is None:
        return None
    trained = {one: weight for one, weight in weights.items() if not one.is_base}
    own = [losses.seeds.own[one] for one in trained]
    variance = sum(weight**2 * one for weight, (one, _) in zip(trained.values(), own, strict=True))
    common = (losses.seeds.common * sum(trained.values()) ** 2, losses.seeds.common_freedom)
    return (common, (variance, min(freedom for _, freedom in own)))


def combined(losses: Losses, weights: Mapping[Configuration, float]) -> np.ndarray:
    """Return the same sum for each of the seeds in common and each example, in summed nats."""
    return _factors(losses, weights, common_seeds(losses, weights)) @ losses.nll.T


def _factors(losses: Losses, weights: Mapping[Configuration, float], seeds: list[int | None]) -> np.ndarray:
    """Return how often each column of the losses counts for each seed."""
    factors = np.zeros((len(seeds), losses.nll.shape[1]))
    for row, seed in zip(factors, seeds, strict=True):
        for configuration, weight in weights.items():
            row[losses.columns[configuration][None if configuration.is_base else seed]] += weight
    return factors
