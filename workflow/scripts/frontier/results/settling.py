"""Say how many validation examples, or seeds, would narrow an interval enough to settle what it leaves open."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from frontier.results import uncertainty
from frontier.results.configurations import Configuration
from frontier.results.contrasts import Losses, combined, common_seeds, contrast, seeds_parts
from frontier.results.uncertainty import Spread

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
    parts = uncertainty.spread(combined(losses, pair), losses.tokens, seeds_parts(losses, pair))
    # An interval that allows for the pick of a rate is wider by this.
    alone = _reach(parts, (count, seeds), (np.array([count]), np.array([seeds])), alpha)
    wider = reach / max(float(alone[0]), 1e-12)
    examples = np.unique(np.geomspace(count, max(count, MOST_EXAMPLES), 400).astype(int))
    enough = wider * _reach(parts, (count, seeds), (examples, np.full_like(examples, seeds)), alpha) < distance
    if enough.any():
        return Needed(_rounded(int(examples[enough][0])), None)
    more = np.arange(seeds + 1, MOST_SEEDS + 1)
    enough = wider * _reach(parts, (count, seeds), (np.full_like(more, count), more), alpha) < distance
    return Needed(None, int(more[enough][0])) if enough.any() else None


def _reach(parts: Spread, was: tuple[int, int], now: tuple[np.ndarray, np.ndarray], alpha: float) -> np.ndarray:
    """Return how far the interval reaches to a side with `now` examples and seeds; `parts` are of what there was."""
    (count, seeds), (examples, more) = was, now
    freer = (more - 1) / (seeds - 1)
    *others, (own, freedom) = parts.of_seeds
    # More examples narrow what a seed does to each of them; what it does to all of them they leave.
    less = np.maximum(own - parts.together / count, 0) + np.minimum(own, parts.together / count) * count / examples
    of_seeds = (*((one, of_one * freer) for one, of_one in others), (less, freedom * freer))
    error, quantile = uncertainty.error_of_mean(replace(parts, of_seeds=of_seeds), more, examples, alpha)
    return error * quantile


def _rounded(count: int) -> int:
    """Return a number of examples with two digits, rounded up."""
    step = 10 ** max(len(str(count)) - 2, 0)
    return -(-count // step) * step
