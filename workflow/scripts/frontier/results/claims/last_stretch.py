"""Tell how the training loss stood, and whether it still fell, over the last fifth of a configuration's steps."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from frontier.results.claims.claim import ALPHA, Evidence
from frontier.results.configurations import Configuration, rows_of
from frontier.results.uncertainty import Interval

# The share of the steps that is looked at: long enough to average batches, short enough to be the end.
SHARE = 0.2


@dataclass(frozen=True)
class Stretch:
    """The training loss over the last fifth of the steps of a configuration's runs, nats a token.

    `losses` has those of each seed by logged step. `loss` is the mean over steps and seeds, `error` its standard error.
    """

    losses: dict[int, dict[int, float]]

    @property
    def loss(self) -> float:
        """The mean over steps, and then over seeds."""
        return float(np.mean([np.mean([*by_step.values()]) for by_step in self.losses.values()]))

    @property
    def error(self) -> float:
        """The standard error of the mean, from how the losses of batches differ around a line."""
        variances = [_line(by_step)[2] / len(by_step) for by_step in self.losses.values()]
        return math.sqrt(sum(variances)) / len(variances)

    def less(self, other: "Stretch") -> "Stretch | None":
        """Return this loss less another one's, paired by seed and step; None where they share too few."""
        shared = {
            seed: {step: by_step[step] - other.losses[seed][step] for step in by_step if step in other.losses[seed]}
            for seed, by_step in self.losses.items()
            if seed in other.losses
        }
        kept = {seed: by_step for seed, by_step in shared.items() if len(by_step) > 2}
        return Stretch(kept) if kept else None

    @property
    def change(self) -> Interval:
        """By how much the loss changes over the stretch: a line through each seed's losses, Student's t interval."""
        lines = [_line(by_step) for by_step in self.losses.values()]
        estimate = float(np.mean([change for change, _, _, _ in lines]))
        error = math.sqrt(sum(square for _, square, _, _ in lines)) / len(lines)
        half = float(stats.t.ppf(1 - ALPHA / 2, min(freedom for _, _, _, freedom in lines))) * error
        return Interval(estimate, estimate - half, estimate + half, error, "last fifth of the steps")


def last_stretch(results: Evidence, arm: Configuration) -> Stretch | None:
    """Return the end of an arm's trainings at its best rate; None where no run logged three steps in it.

    Only runs that ended ok count. A loss that is missing is left out.
    """
    rows = rows_of(results.summary, results.tuned.arms[arm].at_best)
    found = {}
    for row in rows[rows["status"] == "ok"].to_dict("records"):
        history = results.histories.get(row["run"])
        if history is None or history.empty:
            continue
        end = history[history["step"] > (1 - SHARE) * history["step"].max()].dropna(subset=["loss"])
        if len(end) > 2:
            found[int(row["seed"])] = dict(zip(end["step"].astype(int), end["loss"].astype(float), strict=True))
    return Stretch(found) if found else None


def _line(by_step: dict[int, float]) -> tuple[float, float, float, int]:
    """Return a line through losses over steps, by least squares.

    That is its change over the steps, the square of that change's standard error, the variance of the losses around it,
    and the degrees of freedom.
    """
    steps, losses = np.array([*by_step], float), np.array([*by_step.values()], float)
    steps -= steps.mean()
    slope = float(steps @ losses / (steps @ steps))
    freedom, reach = len(steps) - 2, float(np.ptp(steps))
    variance = float(((losses - losses.mean() - slope * steps) ** 2).sum()) / freedom
    return reach * slope, reach * reach * variance / float(steps @ steps), variance, freedom
