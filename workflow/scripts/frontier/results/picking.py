"""Pick the best of an arm's learning rates, and estimate its loss there without flattering the arm that tried more.

The loss of a rate that was picked because its loss is low is on average below the truth; picked without the examples
and the seed that judge it, above, since now and then another rate is picked. The two are averaged, and what they differ
by counts as an error of its own, the less the more the picks scatter: rates that are as good as each other are picked
at random, and then it matters little which. docs/uncertainty.md has the coverage of this and of other ways.
"""

from dataclasses import dataclass

import numpy as np

# Parts of the examples that are judged each at the rate that the other parts pick: docs/uncertainty.md compares.
FOLDS = 5
# The share of that difference which counts where all picks agree: chosen so that coverage is right on either side.
_COUNTED = 4 / 5


@dataclass(frozen=True)
class Judged:
    """An arm's loss at its best rate: `nll` (... x seeds x examples, summed nats), and `error` (..., nats a token).

    `error` is 4/5 of what the loss at the rate that all examples pick differs by from that at the rates picked on
    others, times the square of the share of these picks that are the former rate.
    """

    nll: np.ndarray
    error: np.ndarray


def rate_losses(losses: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return the loss of each rate over the same seeds, ... x rates, from `losses`, ... x rates x seeds.

    `there` (rates x seeds) says which of them were measured. A loss is taken for the sum of an effect of its rate and
    one of its seed, by least squares, which is the mean over seeds where every rate has them all. A rate without any
    has an infinite loss.
    """
    count = there.shape[0]
    rates, seeds = np.nonzero(there)
    design = np.concatenate([np.eye(count)[rates], np.eye(there.shape[1])[seeds]], axis=1)
    cells = losses[..., there]
    mean = cells.mean(axis=-1, keepdims=True)
    effects = (cells - mean) @ np.linalg.pinv(design).T
    level = mean + effects[..., :count] + effects[..., count:].mean(axis=-1, keepdims=True)
    return np.where(there.any(axis=1), level, np.inf)


def judge(nll: np.ndarray, tokens: np.ndarray, there: np.ndarray, best: np.ndarray | int) -> Judged:
    """Return the loss at the best rate, over the seeds that the best rate has.

    `nll` is ... x rates x seeds x examples (summed nats, nought where there is none), `tokens` ... x examples, `best`
    (...) the index of the rate that all examples and seeds pick. Where `there` (rates x seeds) has gaps, `best` is one
    index. The examples are in FOLDS parts by their position, the i-th in part i mod FOLDS.
    """
    seeds = np.ones(there.shape[1], bool) if there.all() else there[int(best)]
    count = nll.shape[-1]
    own = _at(nll, seeds, np.broadcast_to(np.asarray(best)[..., None, None], (*nll.shape[:-3], seeds.sum(), count)))
    if count < 2:
        return Judged(own, np.zeros(nll.shape[:-3]))
    part = np.arange(count) % min(FOLDS, count)
    picks = _picked_on_others(nll, tokens, there, seeds, part)
    agreeing = (picks == np.asarray(best)[..., None, None]).mean(axis=(-2, -1))
    elsewhere = _at(nll, seeds, picks[..., part])
    apart = (elsewhere - own).sum(axis=-1).mean(axis=-1) / tokens.sum(axis=-1)
    return Judged((own + elsewhere) / 2, _COUNTED * np.maximum(apart, 0) * agreeing**2)


def _picked_on_others(nll, tokens, there: np.ndarray, seeds: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return the rate picked for each judged seed and part of the examples, ... x seeds x parts.

    It is picked on the other parts' examples and, of several judged seeds, on the runs of the other seeds. Only rates
    that have all judged seeds can be picked.
    """
    within = part == np.arange(part.max() + 1)[:, None]
    summed = np.stack([nll[..., one].sum(axis=-1) for one in within], axis=-3)
    counts = np.stack([tokens[..., one].sum(axis=-1) for one in within], axis=-1)
    rest = summed.sum(axis=-3, keepdims=True) - summed
    losses = rest / (counts.sum(axis=-1, keepdims=True) - counts)[..., None, None]
    complete = there[:, seeds].all(axis=1)
    picks = []
    for seed in np.flatnonzero(seeds):
        others = there.copy()
        others[:, seed] &= seeds.sum() == 1
        picks.append(np.where(complete, rate_losses(losses, others), np.inf).argmin(axis=-1))
    return np.stack(picks, axis=-2)


def _at(nll: np.ndarray, seeds: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Return the losses at a rate for each seed and example, `rates` (... x seeds x examples) by their index."""
    return np.take_along_axis(nll[..., seeds, :], rates[..., None, :, :], axis=-3)[..., 0, :, :]
