"""Tell what figures show of each arm at the best of its learning rates, and which runs those are.

An arm is what runs have in common that differ in their learning rate and seed alone.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from frontier import axes
from frontier.results import picking
from frontier.results.arms import Arm, diverged_rates
from frontier.results.configurations import Configuration, configurations_of
from frontier.results.contrasts import Losses
from frontier.results.tuning import standings, tuned
from frontier.results.uncertainty import Interval


@dataclass(frozen=True)
class Best:
    """An arm at the best of its learning rates.

    `known` has each rate's loss and whether the best is at an edge of those tried; `diverged` has those tried in vain.
    The reference is the arm that is best of all. `bar` has the ends, in perplexity, of the paired 95% interval of the
    difference from it, counted from its perplexity, so that a bar which reaches the reference's level is of an arm that
    is not told apart from it; None for the reference itself, and where there is no interval. The interval allows for
    the rate's having been picked, so that the arm need not be in its middle. `seeds` has the perplexity of each seed's
    run at the best rate.
    """

    known: Arm
    bar: tuple[float, float] | None
    seeds: tuple[float, ...]
    diverged: tuple[float, ...]
    is_reference: bool

    @property
    def arm(self) -> Configuration:
        """The configuration without its rate."""
        return self.known.arm

    @property
    def perplexity(self) -> float:
        """The perplexity at the best rate, of the mean over seeds."""
        return perplexity(self.known.losses[self.known.best])


def perplexity(loss: float) -> float:
    """Return the perplexity of a loss in nats a token, infinite where it is larger than any number of 64 bits."""
    with np.errstate(over="ignore"):
        return float(np.exp(loss))


def bests(table: pd.DataFrame, losses: Losses | None = None) -> list[Best]:
    """Return each arm that was measured at its best rate, in the table's order; `losses` has the runs' per example.

    Without them the loss is the mean of the runs' own, and there are no intervals.
    """
    diverged = diverged_rates(table)
    behind: dict[Configuration, Interval | None] = {}
    if losses is None:
        known = _arms_of(table, diverged)
        judged = {arm: one.losses[one.best] for arm, one in known.items()}
    else:
        results = tuned(losses, diverged)
        known, standing = results.arms, standings(results)
        judged = {arm: one.loss.estimate for arm, one in standing.items()}
        behind = {arm: one.behind for arm, one in standing.items()}
    reference = min(judged, key=judged.__getitem__, default=None)
    level = known[reference].losses[known[reference].best] if reference else 0.0
    seeds = _seeds(table)
    return [
        Best(
            one,
            _bar(behind.get(arm), level),
            seeds.get(one.at_best, ()),
            tuple(sorted(diverged.get(arm, ()))),
            arm == reference,
        )
        for arm, one in known.items()
    ]


def _bar(behind: Interval | None, level: float) -> tuple[float, float] | None:
    """Return the ends of a difference from a loss, in perplexity; None where there is none, or no end of it."""
    if behind is None or not math.isfinite(behind.high - behind.low):
        return None
    return perplexity(level + behind.low), perplexity(level + behind.high)


def at_best(table: pd.DataFrame, picked: list[Best]) -> pd.DataFrame:
    """Return the rows of each arm at its best rate; of an arm that was measured at none, at the first in the table."""
    rates = {one.arm: one.known.best for one in picked}
    present = configurations_of(table)
    for one in present:
        rates.setdefault(one.arm, one.learning_rate)
    kept = [one.learning_rate == rates[one.arm] for one in present]
    return table[pd.Series(kept, index=table.index, dtype=bool)]


def setting(arm: Configuration) -> str:
    """Return what an arm is beside its precision and rank, in words: alpha 2r, rslora, no rslora, cosine."""
    words = []
    for name, value in arm.others:
        tag = axes.TAGS.get(name, name)
        words.append({"true": tag, "false": f"{axes.OFF} {tag}"}.get(value, f"{tag} {value}".strip()))
    return ", ".join(words)


def name(arm: Configuration) -> str:
    """Return an arm's name where a colour tells its precision: r8, alpha 2r."""
    return ", ".join(filter(None, (f"r{arm.rank}", setting(arm))))


def _arms_of(table: pd.DataFrame, diverged: dict[Configuration, set[float]]) -> dict[Configuration, Arm]:
    """Return what the table alone tells of each arm's rates."""
    measured = table.dropna(subset=["perplexity"])
    groups: dict[Configuration, dict[float | None, dict[int, float]]] = {}
    for one, seed, value in zip(configurations_of(measured), measured["seed"], measured["perplexity"], strict=True):
        groups.setdefault(one.arm, {}).setdefault(one.learning_rate, {})[int(seed)] = math.log(value)
    tried = {arm: {*filter(None, rates), *diverged.get(arm, ())} for arm, rates in groups.items()}
    every = tuple(sorted(set().union(*tried.values())))
    return {arm: Arm(arm, _levels(rates), tuple(sorted(tried[arm])), every) for arm, rates in groups.items()}


def _levels(rates: dict[float | None, dict[int, float]]) -> dict[float | None, float]:
    """Return the loss of each rate over the same seeds, by ascending rate."""
    ascending = sorted(rates, key=lambda rate: rate or 0)
    seeds = sorted(set().union(*rates.values()))
    losses = np.array([[rates[rate].get(seed, 0.0) for seed in seeds] for rate in ascending])
    there = np.array([[seed in rates[rate] for seed in seeds] for rate in ascending])
    return dict(zip(ascending, map(float, picking.rate_losses(losses, there)), strict=True))


def _seeds(table: pd.DataFrame) -> dict[Configuration, tuple[float, ...]]:
    """Return the perplexities of each configuration's runs, by ascending seed."""
    measured = table.dropna(subset=["perplexity"]).sort_values("seed", kind="stable")
    found: dict[Configuration, tuple[float, ...]] = {}
    for one, value in zip(configurations_of(measured), measured["perplexity"], strict=True):
        found[one] = (*found.get(one, ()), float(value))
    return found
