"""Tell what is known of an arm's learning rates: the best, whether it is bracketed, and else which one to add.

An arm is what runs have in common that differ in their learning rate and seed alone.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from frontier import axes
from frontier.outcome_types import Status
from frontier.results.configurations import Configuration, configurations_of

# Digits of a rate that is computed: 8e-3, not 8.000000000000002e-3.
_DIGITS = 3
# Arms that want the same are named as long as there are no more of them.
_NAMED = 3


@dataclass(frozen=True)
class Arm:
    """What is known of an arm's learning rates.

    `losses` has the loss of each rate that was measured, nats a token, all over the same seeds, by ascending rate;
    None stands for a rate that the table does not tell. `tried` has those that diverged too, `elsewhere` the rates that
    were tried of other arms.
    """

    arm: Configuration
    losses: dict[float | None, float]
    tried: tuple[float, ...]
    elsewhere: tuple[float, ...]

    @property
    def best(self) -> float | None:
        """The rate with the lowest loss, the lowest of several such."""
        return min(self.losses, key=self.losses.__getitem__)

    @property
    def at_best(self) -> Configuration:
        """The configuration at the best rate, whose runs the summary has."""
        return replace(self.arm, learning_rate=self.best)

    @property
    def edge(self) -> str | None:
        """At which edge of the rates tried the best one is: highest, lowest, or only; None where it is bracketed."""
        if self.best is None:
            return None
        if len(self.tried) < 2:
            return "only" if set(self.elsewhere) - set(self.tried) else None
        return {self.tried[-1]: "highest", self.tried[0]: "lowest"}.get(self.best)

    @property
    def rate_to_add(self) -> float | None:
        """The rate that would bracket the best: a step of the tried ones further, or where there is none, another's."""
        if self.edge is None:
            return None
        if self.edge == "only":
            others = sorted(set(self.elsewhere) - set(self.tried))
            return min(others, key=lambda rate: abs(math.log(rate / self.best)))
        low, high = self.tried[:2] if self.edge == "lowest" else self.tried[-2:]
        further = low * low / high if self.edge == "lowest" else high * high / low
        return float(f"{further:.{_DIGITS}g}")


def lines(arms: Iterable[Arm]) -> list[str]:
    """Return what to do about best rates at an edge, a line for all arms that want the same."""
    alike: dict[tuple, list[str]] = {}
    for one in arms:
        if one.edge is not None:
            alike.setdefault((one.edge, one.best, one.rate_to_add), []).append(one.arm.title())
    return [_line(titles, *what) for what, titles in alike.items()]


def _line(titles: list[str], edge: str, best: float, more: float) -> str:
    """Return what to do about arms of these titles, all best at the rate `best`, which is at an edge of those tried."""
    named = "; ".join(titles) if len(titles) <= _NAMED else f"{len(titles)} arms, {titles[0]} among them,"
    several = len(titles) > 1
    if edge == "only":
        was, they = ("were", "them") if several else ("was", "it")
        tried = f"{named} {was} tried at one learning rate alone, {axes.text(best)}, and other arms at several"
        return f"{tried}: run {they} at {axes.text(more)}"
    verb = "are" if several else "is"
    return f"{named} {verb} best at the {edge} rate tried, {axes.text(best)}: add {axes.text(more)} to learning_rate"


def diverged_rates(summary: pd.DataFrame) -> dict[Configuration, set[float]]:
    """Return the learning rates at which an arm diverged, by arm: they bracket its best one as worse ones do."""
    rows: dict[Configuration, set[float]] = {}
    for one in configurations_of(summary[summary["status"] == Status.DIVERGED]):
        if one.learning_rate is not None:
            rows.setdefault(one.arm, set()).add(one.learning_rate)
    return rows
