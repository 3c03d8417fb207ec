"""Choose the cheapest of the candidates that are not told apart from the best. docs/findings.md has the rule."""

import math
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from frontier.results.claims.claim import ALPHA, NEGLIGIBLE_LOSS, SPREAD_GIB, Evidence, best_of, loss_of
from frontier.results.configurations import Configuration, rows_by_configuration
from frontier.results.contrasts import Losses, combined, contrast
from frontier.results.tuning import Tuned
from frontier.results.uncertainty import Interval, of_runs


@dataclass(frozen=True)
class Place:
    """What a recommendation is made of: one device's results, all arms, the rows measured there, and the limits."""

    results: Evidence
    tuned: Tuned
    rows: pd.DataFrame
    limits: dict

    @property
    def losses(self) -> Losses:
        """The losses of all arms, each at its best rate, and of the base models."""
        return self.tuned.losses

    def runs(self, arm: Configuration) -> pd.DataFrame:
        """Return the rows of an arm's runs at its best rate."""
        return self._rows_of[self.tuned.arms[arm].at_best]

    @cached_property
    def _rows_of(self) -> dict[Configuration, pd.DataFrame]:
        """The rows of each configuration."""
        return rows_by_configuration(self.rows)

    def median_row(self, arm: Configuration) -> pd.Series:
        """Return the row of an arm's median seed at its best rate; of two in the middle, that of the lower number.

        The seed with the lowest loss would be the luckiest on the examples that judge it.
        """
        runs = self.runs(arm)
        off = (runs["eval_loss"] - runs["eval_loss"].median()).abs().round(9)
        return runs.assign(off=off).sort_values(["off", "seed"]).iloc[0]

    def title(self, one: Configuration) -> str:
        """Return a candidate's name in a sentence, an arm's with its best rate where several were tried."""
        if one.is_base:
            return f"the untrained {one.precision}"
        return (self.tuned.arms[one].at_best if len(self.tuned.rates) > 1 else one).title()

    def cost(self, one: Configuration) -> tuple:
        """Return what candidates are sorted by, the cheapest first: nothing trained, memory, rank, time."""
        if one.is_base:
            return (0, loss_of(self.losses, one))
        runs = self.runs(one)
        return (1, runs["peak_memory_gib"].max(), one.rank, runs["train_seconds"].mean(), one)

    def cheapest(self, several: list[Configuration]) -> Configuration:
        """Return the cheapest of candidates, by memory beyond what repeats differ by, then by rank, then by time."""
        first = min(several, key=self.cost)
        if first.is_base:
            return first
        least = self.cost(first)[1] + SPREAD_GIB.get(self.rows["memory_metric"].iloc[0], 0)
        trained = [one for one in several if not one.is_base and self.cost(one)[1] <= least]
        return min(trained, key=lambda one: (one.rank, self.cost(one)[3], one))


@dataclass(frozen=True)
class Choice:
    """The chosen candidate among others.

    `best` has the lowest loss. `level` has those, best and chosen among them, that are not told apart from the best,
    the trained ones no more than 2% behind it. `others` has, for each other candidate, how far the chosen one is behind
    it, paired; None where they share no seed. `bases` are the untrained models, `share` is what each comparison has of
    the 5%.
    """

    chosen: Configuration
    best: Configuration
    level: list[Configuration]
    others: dict[Configuration, Interval | None]
    bases: list[Configuration]
    share: float

    @property
    def most_behind(self) -> float:
        """By how much another candidate may be better, in nats a token: the highest upper end."""
        return max([0.0, *(one.high for one in self.others.values() if one is not None)])

    @property
    def rival(self) -> Configuration | None:
        """The candidate that may be better by the most."""
        known = {one: interval.high for one, interval in self.others.items() if interval is not None}
        return max(known, key=known.__getitem__, default=None)


def choose(here: Place, allowed: list[Configuration]) -> Choice:
    """Return the choice among the arms that keep the limits and the untrained bases of their precisions.

    An arm that is not ahead of every base is no candidate, though it counts among those that share the 5%.
    """
    losses = here.losses
    precisions = {one.precision for one in allowed}
    most = here.limits["max_perplexity"]
    bases = [one for one in losses.columns if one.is_base and one.precision in precisions]
    bases = [one for one in bases if most is None or loss_of(losses, one) <= math.log(most)]
    untrained = min((loss_of(losses, one) for one in bases), default=math.inf)
    candidates = [*bases, *(one for one in allowed if loss_of(losses, one) < untrained)]
    share = ALPHA / max(len(bases) + len(allowed) - 1, 1)
    best = best_of(losses, candidates)
    level = [one for one in candidates if one == best or _is_level(losses, one, best, share)]
    chosen = here.cheapest(level)
    others = {one: contrast(losses, {chosen: 1, one: -1}, share) for one in candidates if one != chosen}
    return Choice(chosen, best, level, others, bases, share)


def _is_level(losses: Losses, one: Configuration, best: Configuration, share: float) -> bool:
    """Return whether a candidate is not told apart from the best and, if it was trained, not 2% behind it.

    The untrained model is level with the best as long as other examples could turn their order, whatever other seeds
    would do: with two seeds an interval that allows for those holds nought even where both gained much.
    """
    pair = {one: 1, best: -1}
    behind = contrast(losses, pair, share)
    if behind is None or behind.low > 0:
        return False
    if not one.is_base or len(losses.tokens) < 2:
        return behind.estimate < NEGLIGIBLE_LOSS
    return of_runs(combined(losses, pair).mean(axis=0, keepdims=True), losses.tokens, share).low <= 0
