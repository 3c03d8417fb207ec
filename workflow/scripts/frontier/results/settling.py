"""Say how many validation examples, or seeds, would narrow an interval enough to settle what it leaves open."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats

from frontier.results import uncertainty
from frontier.results.configurations import Configuration
from frontier.results.contrasts import Losses, combined, common_seeds, contrast

# The most examples and seeds that are told: with more, nobody would settle it so.
MOST_EXAMPLES = 100_000
MOST_SEEDS = 10


class Needed(NamedTuple):
    """What would settle it: so many examples with the seeds as they are, or so many seeds with the examples."""

    examples: int | None
    seeds: int | None

    @property
    def words(self) -> str:
        """What it takes, in words: some 140 validation examples."""
        return f"{self.seeds} seeds" if self.examples is None else f"some {self.examples:,} validation examples"


def needed(losses: Losses, pair: Mapping[Configuration, float], distance: float, alpha: float) -> Needed | None:
    """Return what makes the interval of a contrast reach less than `distance` (nats a token) below its estimate.

    Its variance is what the examples and seeds at hand show. Returns None where nothing that is told would do.
    """
    interval, count = contrast(losses, pair, alpha), len(losses.tokens)
    if interval is None or not np.isfinite(interval.low) or distance <= 0:
        return None
    reach, seeds = interval.estimate - interval.low, len(common_seeds(losses, pair))
    if seeds < 2:
        # The interval narrows as the root of the number of examples.
        found = int(np.ceil(max(count * (reach / distance) ** 2, 2)))
        return Needed(_rounded(found), None) if found <= MOST_EXAMPLES else None
    squares = tuple(map(float, uncertainty.mean_squares(combined(losses, pair), losses.tokens)[1:]))
    # An interval that allows for the pick of a rate is wider by this.
    alone = _reach(squares, (count, seeds), (np.array([count]), np.array([seeds])), alpha)
    wider = reach / max(float(alone[0]), 1e-12)
    examples = np.unique(np.geomspace(count, max(count, MOST_EXAMPLES), 400).astype(int))
    enough = wider * _reach(squares, (count, seeds), (examples, np.full_like(examples, seeds)), alpha) < distance
    if enough.any():
        return Needed(_rounded(int(examples[enough][0])), None)
    more = np.arange(seeds + 1, MOST_SEEDS + 1)
    enough = wider * _reach(squares, (count, seeds), (np.full_like(more, count), more), alpha) < distance
    return Needed(None, int(more[enough][0])) if enough.any() else None


def _reach(squares: tuple, was: tuple[int, int], now: tuple[np.ndarray, np.ndarray], alpha: float) -> np.ndarray:
    """Return how far the interval reaches to a side with `now` examples and seeds; `squares` are of what there was."""
    (of_seeds, of_examples, together), (count, seeds), (examples, more) = squares, was, now
    by_seed = max(of_seeds - together, 0) / count / more + together / examples / more
    by_example = max(of_examples - together, 0) / seeds / examples
    quantiles = stats.t.ppf(1 - alpha / 2, [more - 1, examples - 1])
    variance = by_seed + by_example
    return (quantiles[0] * by_seed + quantiles[1] * by_example) / np.sqrt(np.where(variance > 0, variance, 1))


def _rounded(count: int) -> int:
    """Return a number of examples with two digits, rounded up."""
    step = 10 ** max(len(str(count)) - 2, 0)
    return -(-count // step) * step
