"""Estimate what another seed would do to a configuration's loss, from the seeds of all configurations together.

Two seeds of one configuration tell next to nothing of how far a third would be. Those of many do: a loss is taken for
the sum of an effect of its configuration, one of its seed, which all configurations share, and a rest. The variance of
the rest is each configuration's own, but drawn towards what all show, by as much as they are alike (G. K. Smyth,
Statistical Applications in Genetics and Molecular Biology 3, 2004, article 3, sections 4 to 6). docs/uncertainty.md has
the formulas and the coverage that was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

# A variance below this share of the mean one is taken for that, so that its logarithm exists.
_LEAST = 1e-6
# Newton's method has come as near as numbers of double precision allow long before.
_NEWTON_STEPS = 50


@dataclass(frozen=True)
class SeedSpread:
    """Variances of the loss of one seed, nats squared, and the degrees of freedom that each rests on.

    `common` is of what a seed does to all configurations alike; `own` has, for each configuration of several seeds, the
    variance and the degrees of freedom of what it does to that one beyond it.
    """

    common: float
    common_freedom: float
    own: Mapping[Any, tuple[float, float]]


def seed_spread(losses: Mapping[Any, Mapping[int, float]]) -> SeedSpread | None:
    """Return the spread over seeds of configurations' losses, each given by its seed, nats a token.

    Returns None where no configuration can be set beside another over two seeds: then each has only its own to go by.
    """
    several = {one: by_seed for one, by_seed in losses.items() if len(by_seed) > 1}
    seeds = sorted(set().union(*several.values()))
    if len(several) < 2:
        return None
    values = np.array([[by_seed.get(seed, np.nan) for seed in seeds] for by_seed in several.values()])
    effects, covariance, squares, freedom = _two_way(values)
    if freedom.sum() < _LEAST:
        return None
    rank = round(float(np.linalg.matrix_rank(covariance)))
    pooled = squares.sum() / freedom.sum()
    common = max(float((effects**2).sum() - pooled * np.trace(covariance)) / rank, 0.0)
    variances, freedoms = moderated(squares, freedom)
    own = dict(zip(several, zip(map(float, variances), map(float, freedoms), strict=True), strict=True))
    return SeedSpread(common, rank, own)


def _two_way(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the least-squares fit of a sum of an effect of the row and one of the column.

    `values` is configurations x seeds, not a number where there is no run. Returned are the seeds' effects, their
    covariance in units of the rest's variance, and each configuration's sum of squared residuals with its degrees of
    freedom, which over all configurations add up to those of the fit.
    """
    there = np.isfinite(values)
    count = there.sum(axis=1)
    centred = np.where(there, values - np.nanmean(values, axis=1)[:, None], 0)
    # What each run tells of the seeds' effects, once its configuration's mean is taken out.
    design = there[..., None] * (np.eye(there.shape[1]) - (there / count[:, None])[:, None])
    covariance = np.linalg.pinv(np.einsum("cst,csu->tu", design, design), hermitian=True)
    effects = covariance @ np.einsum("cst,cs->t", design, centred)
    squares = ((centred - design @ effects) ** 2).sum(axis=1)
    leverage = np.einsum("cst,tu,csu->c", design, covariance, design)
    return effects, covariance, squares, np.maximum(count - 1 - leverage, 0)


def moderated(squares: np.ndarray, freedom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return variances drawn towards what all have in common, and their degrees of freedom.

    Given are sums of squares with their degrees of freedom, one a configuration. How much the variances truly differ is
    estimated from how much more their logarithms vary than chance lets them; where that is nothing, all are the pooled
    one. No variance has more degrees of freedom than all have together.
    """
    whole = freedom.sum()
    pooled = squares.sum() / whole
    known = freedom > _LEAST
    alone, less = squares[known] / freedom[known], freedom[known]
    if pooled == 0 or known.sum() < 3:
        return np.full(len(squares), pooled), np.full(len(squares), whole)
    logarithms = np.log(np.maximum(alone, _LEAST * pooled)) - special.digamma(less / 2) + np.log(less / 2)
    beyond = logarithms.var(ddof=1) - special.polygamma(1, less / 2).mean()
    if beyond <= 0:
        return np.full(len(squares), pooled), np.full(len(squares), whole)
    prior = 2 * _inverse_trigamma(beyond)
    centre = np.exp(logarithms.mean() + special.digamma(prior / 2) - np.log(prior / 2))
    return (prior * centre + squares) / (prior + freedom), np.minimum(prior + freedom, whole)


def _inverse_trigamma(value: float) -> float:
    """Return the argument of which the trigamma function is a positive value, by Newton's method on its reciprocal."""
    found = 0.5 + 1 / value
    for _ in range(_NEWTON_STEPS):
        trigamma = special.polygamma(1, found)
        step = trigamma * (1 - trigamma / value) / special.polygamma(2, found)
        found += step
        if abs(step) < 1e-9 * found:
            break
    return float(found)
