"""Estimate how far a loss, or a difference of losses, may be from what other examples and seeds would have given.

The loss is a ratio: summed NLL over summed answer tokens, both of them sums over examples of unequal length. With one
seed the examples alone are resampled. With several, the runs' means vary with the seed while all of them share the
examples, so that three mean squares are told apart: of seeds, of examples, and of what the two do together.
docs/uncertainty.md has the formulas, their sources and the coverage that was measured.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

# Resamples of a bootstrap: docs/uncertainty.md has the coverage that they give.
DRAWS = 10_000
# Resamples that are held in memory at a time.
_DRAWS_AT_ONCE = 500


@dataclass(frozen=True)
class Interval:
    """An estimate in nats a token with its confidence interval; `basis` says what it allows for."""

    estimate: float
    low: float
    high: float
    standard_error: float
    basis: str


# Variances of what seeds do, nats squared, each with its degrees of freedom.
Parts = tuple[tuple[np.ndarray | float, np.ndarray | float], ...]


@dataclass(frozen=True)
class Spread:
    """What makes up the variance of a loss, nats squared.

    `of_seeds` has the parts of one seed's loss, `of_examples` is the variance of one example beyond what it does with a
    seed together, which is `together` for one example and one seed, and which the last of the seeds' parts holds.
    """

    of_seeds: Parts
    of_examples: np.ndarray
    together: np.ndarray


def resample_losses(nll: np.ndarray, tokens: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Return the losses of all runs over resampled examples, draws x runs, nats a token.

    The resamples are the same for every run, so that differences are paired. `nll` is examples x runs, summed nats;
    `tokens` is examples, or examples x runs.
    """
    count = len(nll)
    random = np.random.default_rng(seed)
    losses = np.empty((draws, nll.shape[1]))
    for start in range(0, draws, _DRAWS_AT_ONCE):
        size = min(_DRAWS_AT_ONCE, draws - start)
        chosen = random.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(chosen.ravel(), minlength=size * count).reshape(size, count).astype(float)
        summed = times @ tokens
        losses[start : start + size] = (times @ nll) / (summed if tokens.ndim == 2 else summed[:, None])
    return losses


def over_examples(estimate: float, resampled: np.ndarray, alpha: float = 0.05) -> Interval:
    """Return the percentile interval of a bootstrap over examples, good for the one seed that was run.

    `resampled` has its draws along the first axis. Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13.
    """
    low, high = np.quantile(resampled, [alpha / 2, 1 - alpha / 2], axis=0)
    return Interval(estimate, low, high, resampled.std(axis=0, ddof=1), "this seed only")


def of_runs(nll: np.ndarray, tokens: np.ndarray, alpha: float = 0.05, of_seeds: Parts | None = None) -> Interval:
    """Return the interval of losses without a bootstrap: over seeds where there are several, else over examples.

    `nll` is ... x seeds x examples; `tokens` is ... x examples. Of one seed it is Student's interval of the ratio's
    linearisation, which is about as wide as the bootstrap's.
    """
    if nll.shape[-2] > 1:
        return over_seeds(nll, tokens, alpha, of_seeds)
    nll, count = nll[..., 0, :], nll.shape[-1]
    loss = nll.sum(axis=-1) / tokens.sum(axis=-1)
    residual = (nll - loss[..., None] * tokens) / tokens.mean(axis=-1)[..., None]
    error = np.sqrt((residual**2).sum(axis=-1) / (count - 1) / count)
    quantile = stats.t.ppf(1 - alpha / 2, count - 1)
    return Interval(loss, loss - quantile * error, loss + quantile * error, error, "this seed only")


def over_seeds(nll: np.ndarray, tokens: np.ndarray, alpha: float = 0.05, of_seeds: Parts | None = None) -> Interval:
    """Return the interval of the mean over seeds, good for other seeds and other examples.

    `nll` is ... x seeds x examples, at least two of each; `tokens` is ... x examples. `of_seeds` is what other seeds
    would do, where more is known of it than these losses show.
    """
    found = spread(nll, tokens, of_seeds)
    seeds, count = nll.shape[-2:]
    error, quantile = error_of_mean(found, seeds, count, alpha)
    estimate = (nll.sum(axis=-1) / tokens.sum(axis=-1)[..., None]).mean(axis=-1)
    return Interval(estimate, estimate - quantile * error, estimate + quantile * error, error, f"{seeds} seeds")


def spread(nll: np.ndarray, tokens: np.ndarray, of_seeds: Parts | None = None) -> Spread:
    """Return the parts of the variance of losses, of a crossed layout without replication.

    The arguments are those of `over_seeds`. Without `of_seeds` the seeds' part is these losses' own.
    """
    seeds, count = nll.shape[-2:]
    _, seed_square, example_square, together = mean_squares(nll, tokens)
    of_examples = np.maximum(example_square - together, 0) / seeds
    return Spread(of_seeds or ((seed_square / count, seeds - 1),), of_examples, together)


def error_of_mean(parts: Spread, seeds, count, alpha: float) -> tuple[Any, Any]:
    """Return the standard error of a mean over so many seeds and examples, and by which quantile it counts.

    The quantile is Cochran and Cox's: Student's t of each part's own degrees of freedom, weighted by the part's
    variance (Cochran, Biometrics 20, 1964, pp. 191-195). Satterthwaite's degrees of freedom cover too little here.
    """
    several = [(one / seeds, freedom) for one, freedom in parts.of_seeds] + [(parts.of_examples / count, count - 1)]
    variance = sum(one for one, _ in several)
    weighted = sum(stats.t.ppf(1 - alpha / 2, freedom) * one for one, freedom in several)
    return np.sqrt(variance), weighted / np.where(variance > 0, variance, 1)


def mean_squares(nll: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the loss of each seed, and the mean squares of seeds, of examples and of both together.

    `nll` is ... x seeds x examples, at least two of each; `tokens` is ... x examples.
    """
    seeds, count = nll.shape[-2:]
    mean_tokens = tokens.mean(axis=-1)[..., None, None]
    loss = nll.sum(axis=-1) / tokens.sum(axis=-1)[..., None]
    residual = (nll - loss[..., None] * tokens[..., None, :]) / mean_tokens
    shared = residual.mean(axis=-2)
    seed_square = count * loss.var(axis=-1, ddof=1)
    example_square = seeds * (shared**2).sum(axis=-1) / (count - 1)
    together = ((residual - shared[..., None, :]) ** 2).sum(axis=(-2, -1)) / ((count - 1) * (seeds - 1))
    return loss, seed_square, example_square, together


def with_error(interval: Interval, error: np.ndarray | float, alpha: float = 0.05) -> Interval:
    """Return an interval that allows for a further error too, of a standard deviation in nats a token.

    Each end is as far off as the root of the two squared distances, its own and that of a normal error.
    """
    further = stats.norm.ppf(1 - alpha / 2) * error
    return replace(
        interval,
        low=interval.estimate - np.hypot(interval.estimate - interval.low, further),
        high=interval.estimate + np.hypot(interval.high - interval.estimate, further),
        standard_error=np.hypot(interval.standard_error, error),
    )
