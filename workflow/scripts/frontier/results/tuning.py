"""Compare arms each at the best of its learning rates, and say which rates are not told apart from that.

How a rate is picked, and how an interval allows for the pick, is in picking.py and docs/uncertainty.md.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from frontier.results import picking, uncertainty
from frontier.results.arms import Arm, lines
from frontier.results.configurations import Configuration
from frontier.results.contrasts import Losses, contrast, with_seeds
from frontier.results.uncertainty import Interval


@dataclass(frozen=True)
class Tuned:
    """All arms, each at its best rate.

    `losses` has an arm in place of its configurations; `with_worst` has, under `worst(arm)`, arms of several rates at
    their worst too. `measured` is what both were made of.
    """

    losses: Losses
    with_worst: Losses
    arms: dict[Configuration, Arm]
    measured: Losses

    @property
    def rates(self) -> list[float]:
        """All learning rates that were tried, ascending."""
        return sorted({rate for one in self.arms.values() for rate in one.tried})

    def level_with_best(self, arm: Configuration, alpha: float = 0.05) -> list[float | None]:
        """Return the arm's best rate and those not told apart from it, each of the others at its share of alpha."""
        rates, best = self.arms[arm].losses, self.arms[arm].best
        share, level = alpha / max(len(rates) - 1, 1), []
        for rate in rates:
            pair = {replace(arm, learning_rate=rate): 1, replace(arm, learning_rate=best): -1}
            behind = None if rate == best else contrast(self.measured, pair, share)
            if behind is None or behind.low <= 0:
                level.append(rate)
        return level

    def lines(self, arms: Collection[Configuration] | None = None) -> list[str]:
        """Return what to do about each of the arms, or of all, whose best rate is at an edge of those tried."""
        return lines(map(self.arms.__getitem__, self.arms if arms is None else arms))


@dataclass(frozen=True)
class Standing:
    """An arm as a figure shows it.

    `loss` is its loss at the best rate, nats a token; `behind` by how much it is above the best arm's, paired, None for
    that arm itself and for one that shares no seed with it. `rates` has the loss of each rate, `level` those not told
    apart from the best, `edge` is that of `Arm`.
    """

    best_rate: float | None
    loss: Interval
    behind: Interval | None
    rates: dict[float | None, float]
    level: list[float | None]
    edge: str | None


def tuned(losses: Losses, diverged: Mapping[Configuration, Collection[float]] | None = None) -> Tuned:
    """Return the arms of all configurations, each at its best rate; `diverged` has rates that were tried in vain.

    An arm of one rate has its runs' own columns, so that where no arm has several every number is the runs' own.
    """
    diverged = diverged or {}
    groups: dict[Configuration, dict[float | None, dict]] = {}
    for one in sorted(losses.columns, key=lambda one: one.learning_rate or 0):
        if not one.is_base:
            groups.setdefault(one.arm, {})[one.learning_rate] = losses.columns[one]
    tried = {arm: {*filter(None, rates), *diverged.get(arm, ())} for arm, rates in groups.items()}
    every = tuple(sorted(set().union(*tried.values())))
    order = dict.fromkeys(one.arm for one in losses.columns if not one.is_base)
    arms = {arm: Arm(arm, _levels(losses, groups[arm]), tuple(sorted(tried[arm])), every) for arm in order}
    with_worst = _with_columns(losses, {arm: groups[arm] for arm in order}, arms)
    kept = {one: columns for one, columns in with_worst.columns.items() if one.is_base or one in arms}
    return Tuned(with_seeds(replace(with_worst, columns=kept)), with_worst, arms, losses)


def worst(arm: Configuration) -> Configuration:
    """Return the name under which `Tuned.with_worst` has an arm at the worst of its rates."""
    return replace(arm, others=(*arm.others, ("learning_rate", "worst")))


def standings(results: Tuned, arms: Collection[Configuration] | None = None) -> dict[Configuration, Standing]:
    """Return how each of the arms, or all, stands at its best rate, beside the best of them and rate by rate."""
    shown = list(results.arms if arms is None else arms)
    losses = {arm: contrast(results.losses, {arm: 1}) for arm in shown}
    best = min(shown, key=lambda arm: losses[arm].estimate, default=None)
    return {
        arm: Standing(
            results.arms[arm].best,
            losses[arm],
            None if arm == best else contrast(results.losses, {arm: 1, best: -1}),
            results.arms[arm].losses,
            results.level_with_best(arm),
            results.arms[arm].edge,
        )
        for arm in shown
    }


def _grid(losses: Losses, rates: dict[float | None, dict]) -> tuple[np.ndarray, np.ndarray, list]:
    """Return an arm's losses, rates x seeds x examples, which of them were measured, rates x seeds, and its seeds."""
    seeds = sorted(set().union(*rates.values()))
    there = np.array([[seed in columns for seed in seeds] for columns in rates.values()])
    nll = np.zeros((*there.shape, len(losses.tokens)))
    for row, columns in zip(nll, rates.values(), strict=True):
        for seed, column in columns.items():
            row[seeds.index(seed)] = losses.nll[:, column]
    return nll, there, seeds


def _levels(losses: Losses, rates: dict[float | None, dict]) -> dict[float | None, float]:
    """Return the loss of each of an arm's rates over the same seeds, nats a token."""
    nll, there, _ = _grid(losses, rates)
    found = picking.rate_losses(nll.sum(axis=-1) / losses.tokens.sum(), there)
    return dict(zip(rates, map(float, found), strict=True))


def _with_columns(losses: Losses, groups: dict[Configuration, dict], arms: dict[Configuration, Arm]) -> Losses:
    """Return losses with a column for each arm and seed at its best rate, and one at its worst, in place of runs'."""
    columns = {one: by_seed for one, by_seed in losses.columns.items() if one.is_base}
    picked: dict[Configuration, float] = {}
    added: list[np.ndarray] = []
    for arm, rates in groups.items():
        if len(rates) == 1:
            columns[arm] = next(iter(rates.values()))
            continue
        nll, there, seeds = _grid(losses, rates)
        levels = np.array(list(arms[arm].losses.values()))
        for name, sign in ((arm, 1), (worst(arm), -1)):
            best = int(np.argmin(sign * levels))
            judged = picking.judge(sign * nll, losses.tokens, there, best)
            having = [seed for seed, is_there in zip(seeds, there[best], strict=True) if is_there]
            start = losses.nll.shape[1] + len(added)
            columns[name] = {seed: start + place for place, seed in enumerate(having)}
            added += list(sign * judged.nll)
            picked[name] = float(judged.error)
    if not added:
        return with_seeds(replace(losses, columns=columns))
    new = np.column_stack(added)
    # The resamples are the same as those of the runs, so that arms are paired with all else.
    resampled = uncertainty.resample_losses(new, losses.tokens, len(losses.resampled))
    resampled = np.hstack([losses.resampled, resampled])
    return with_seeds(Losses(np.hstack([losses.nll, new]), losses.tokens, resampled, columns, picked=picked))
