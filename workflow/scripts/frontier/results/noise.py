"""Say how far configurations are apart in a measurement, and how far by chance, many of them at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from frontier.results import uncertainty
from frontier.results.claims.claim import ALPHA, NEGLIGIBLE_LOSS
from frontier.results.seeds import SeedSpread, seed_spread

# Configurations whose losses are set against another's at a time.
_AT_ONCE = 200


@dataclass(frozen=True)
class Axis:
    """One measurement of all configurations: their means, and how much two means may differ by chance.

    That is `least`, or `scale` times the root of what one over each one's number of runs add up to.
    """

    means: np.ndarray
    counts: np.ndarray
    least: float
    scale: float

    def noise(self, one: int, others: np.ndarray) -> np.ndarray:
        """Return by how much the means of one and of each other may differ without a difference in truth."""
        return np.maximum(self.least, self.scale * np.sqrt(1 / self.counts[one] + 1 / self.counts[others]))


@dataclass(frozen=True)
class Losses:
    """The losses of configurations: their means, and where they are known each one's summed nats by seed.

    `seeds` is what other seeds would do, by the configuration's place.
    """

    axis: Axis
    by_seed: list[dict[int, np.ndarray]]
    tokens: np.ndarray | None
    seeds: SeedSpread | None


def axis_of(values: list[np.ndarray], least: float, always: float = 0) -> Axis:
    """Return an axis from the values of each configuration's runs.

    Where any configuration has several, their spread about their means, pooled, says what chance does, but `always` at
    the least; else it is `least`. All pairs of configurations share the 5%.
    """
    counts = np.array([len(one) for one in values])
    means = np.array([one.mean() for one in values])
    freedom = int((counts - 1).sum())
    if not freedom:
        return Axis(means, counts, least, 0)
    squares = sum(float(((one - one.mean()) ** 2).sum()) for one in values)
    pairs = max(len(values) * (len(values) - 1) / 2, 1)
    quantile = stats.t.ppf(1 - ALPHA / 2 / pairs, freedom)
    return Axis(means, counts, always, float(quantile) * np.sqrt(squares / freedom))


def losses_of(rows: pd.DataFrame, several: list[pd.Index], frames: Mapping[Any, pd.DataFrame]) -> Losses:
    """Return the losses of configurations; without a run's per-example losses, or on unlike examples, means alone."""
    axis = axis_of([rows.loc[places, "eval_loss"].to_numpy(float) for places in several], NEGLIGIBLE_LOSS)
    known = [frames.get(place) for places in several for place in places]
    tokens = None if known[0] is None else known[0]["tokens"].to_numpy(float)
    for frame in known:
        if tokens is None or frame is None or len(tokens) < 2 or not np.array_equal(frame["tokens"], tokens):
            return Losses(axis, [], None, None)
    by_seed = [
        {int(rows.loc[place, "seed"]): frames[place]["nll"].to_numpy(float) for place in places} for places in several
    ]
    found = {
        place: {seed: float(nll.sum() / tokens.sum()) for seed, nll in one.items()} for place, one in enumerate(by_seed)
    }
    return Losses(axis, by_seed, tokens, seed_spread(found))


def behind(losses: Losses, one: int, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the interval of how far one's loss is above each other's, paired on seeds and examples."""
    apart = losses.axis.means[one] - losses.axis.means[others]
    if losses.tokens is None:
        noise = losses.axis.noise(one, others)
        return apart - noise, apart + noise
    low, high = np.full(len(others), -np.inf), np.full(len(others), np.inf)
    shared: dict[tuple, list[int]] = {}
    for place, other in enumerate(others):
        seeds = tuple(sorted(set(losses.by_seed[one]) & set(losses.by_seed[other])))
        shared.setdefault(seeds, []).append(place)
    for seeds, places in shared.items():
        for start in range(0, len(places) if seeds else 0, _AT_ONCE):
            some = places[start : start + _AT_ONCE]
            own = np.stack([losses.by_seed[one][seed] for seed in seeds])
            theirs = np.stack([[losses.by_seed[others[place]][seed] for seed in seeds] for place in some])
            parts = _seeds_parts(losses.seeds, one, others[some]) if len(seeds) > 1 else None
            interval = uncertainty.of_runs(own - theirs, losses.tokens, of_seeds=parts)
            low[some], high[some] = interval.low, interval.high
    return low, high


def _seeds_parts(seeds: SeedSpread | None, one: int, others: np.ndarray) -> uncertainty.Parts | None:
    """Return what another seed would do to the difference of one configuration's loss and each of others'."""
    if seeds is None:
        return None
    variance, freedom = seeds.own[one]
    theirs = np.array([seeds.own[other] for other in others])
    return ((variance + theirs[:, 0], np.minimum(freedom, theirs[:, 1])),)
