"""Say what a claim is made of: its evidence, its verdict, its sentence, and the yardsticks that all claims share."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from frontier.results.arms import diverged_rates
from frontier.results.configurations import Configuration, configurations_of
from frontier.results.contrasts import Losses, contrast
from frontier.results.tuning import Tuned, tuned
from frontier.results.uncertainty import Interval

SUPPORTED = "supported"
CONTRADICTED = "contradicted"
INCONCLUSIVE = "inconclusive"
NOT_MEASURED = "not_measured"
VERDICTS = (SUPPORTED, CONTRADICTED, INCONCLUSIVE, NOT_MEASURED)
# How often a claim may be wrong; where it picks one of several comparisons, each has its share of that.
ALPHA = 0.05
# A difference in perplexity below 2% is no reason to choose a run. In nats a token, as differences of losses are.
NEGLIGIBLE_LOSS = math.log(1.02)
# A difference in time below 5% is no reason to choose a run. In logarithms of time.
NEGLIGIBLE_TIME = math.log(1.05)
# By how much two repeats of one run were seen to differ, in GiB, by memory metric. What CUDA allocates repeats.
SPREAD_GIB = {"host_rss": 0.05}
# A percentage from here on is written as being over it.
_MANY = 10_000


@dataclass(frozen=True)
class Evidence:
    """All that a verdict depends on: the summary's rows, the losses, and the two sets of limits from the config.

    `histories` has the training of each run as it went, by the run's name; `targets` has the layers of each set of
    lora.targets by its name, where there are several. `shipping` is results/shipping.csv, where that is measured.
    """

    summary: pd.DataFrame
    losses: Losses
    budget: dict
    recommend: dict
    histories: dict[str, pd.DataFrame] = field(default_factory=dict)
    targets: dict[str, str | list[str]] = field(default_factory=dict)
    shipping: pd.DataFrame | None = None

    @property
    def sixteen_bit(self) -> str | None:
        """The precision that stands for 16 bits: fp16 where there is a run of it, else bf16, else none."""
        present = set(self.summary["precision"])
        return next((name for name in ("fp16", "bf16") if name in present), None)

    @cached_property
    def tuned(self) -> Tuned:
        """Every arm, each at the best of its learning rates: what claims about quality compare."""
        return tuned(self.losses, diverged_rates(self.summary))

    @cached_property
    def settings(self) -> Counter[tuple]:
        """The values of the further axes (alpha, targets ...) that were tried together, each with its measured runs."""
        counts: Counter[tuple] = Counter()
        for one, by_seed in self.losses.columns.items():
            if not one.is_base:
                counts[one.others] += len(by_seed)
        return counts

    @property
    def setting(self) -> tuple:
        """The setting within which claims about rank and precision are judged: the first with the most runs."""
        return max(self.settings, key=self.settings.__getitem__, default=())

    @cached_property
    def arms(self) -> Losses:
        """The losses of that setting's arms, each at its best rate, and of the base models."""
        columns = self.tuned.losses.columns
        kept = {one: columns[one] for one in columns if one.is_base or one.others == self.setting}
        return replace(self.tuned.losses, columns=kept)

    def rows(self, precision: str | None) -> pd.DataFrame:
        """Return the summary's rows of a precision."""
        return self.summary[self.summary["precision"] == precision]

    def runs(self, *configurations: Configuration) -> list[str]:
        """Return the names of the configurations' runs, an arm's at all of its rates, in the summary's order."""
        present = zip(self.summary["run"], configurations_of(self.summary), strict=True)
        return [run for run, one in present if one in configurations or one.arm in configurations]


def claim(name: str, verdict: str, sentence: str, runs=(), values: dict | None = None, interval=None) -> dict:
    """Return a claim as findings.json has it; `interval` is an `interval_record`, or None where there is none."""
    evidence = {"runs": list(runs), "values": plain(values or {}), "interval": interval}
    return {"id": name, "verdict": verdict, "sentence": sentence, "evidence": evidence}


def not_measured(name: str, reason: str, runs=()) -> dict:
    """Return a claim that these runs cannot judge; `reason` says what it takes."""
    return claim(name, NOT_MEASURED, f"Not measured: {reason}.", runs)


def verdict_of(interval: Interval, negligible: float = 0) -> str:
    """Return SUPPORTED for a difference above nought, CONTRADICTED for one below what is negligible.

    Both only where the whole interval is there; INCONCLUSIVE otherwise.
    """
    if interval.low > 0:
        return SUPPORTED
    return CONTRADICTED if interval.high < negligible else INCONCLUSIVE


def interval_record(interval: Interval, unit: str, transform=lambda value: value, level: float | None = 0.95) -> dict:
    """Return an interval as findings.json has it, its numbers transformed; an end that it has not is None."""
    bounds = {name: getattr(interval, name) for name in ("estimate", "low", "high")}
    bounds = {name: transform(value) if math.isfinite(value) else None for name, value in bounds.items()}
    return plain(bounds) | {"level": level, "unit": unit, "basis": interval.basis}


def percent_record(interval: Interval) -> dict:
    """Return a difference of losses as findings.json has it, in percent of perplexity."""
    return interval_record(interval, "% of perplexity", percent)


def plain(value):
    """Return a value for JSON: numbers of numpy and pandas as Python's own; what is not finite, None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def percent(difference: float) -> float:
    """Return a difference of losses in nats a token, or of logarithms of time, as a percentage of the lower one."""
    with np.errstate(over="ignore"):
        return 100 * float(np.expm1(difference))


def percents(interval: Interval) -> str:
    """Return a difference of losses as text, say +8.2% (+6.0% to +10.5%; this seed only)."""
    return span(interval, lambda value: f"{percent(value):+.1f}%" if percent(value) < _MANY else f"over +{_MANY:,}%")


def span(interval: Interval, form) -> str:
    """Return an interval as text, each of its numbers as `form` writes it."""
    ends = f"{form(interval.low)} to {form(interval.high)}; " if math.isfinite(interval.low) else ""
    return f"{form(interval.estimate)} ({ends}{interval.basis})"


def listing(items) -> str:
    """Return items as prose: 8, 16 and 32."""
    items = [str(item) for item in items]
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def loss_of(losses: Losses, configuration: Configuration) -> float:
    """Return a configuration's mean loss over its seeds, nats a token."""
    return contrast(losses, {configuration: 1}).estimate


def perplexity_of(losses: Losses, configuration: Configuration) -> float:
    """Return the perplexity of a configuration's mean loss over its seeds."""
    return math.exp(loss_of(losses, configuration))


def best_of(losses: Losses, configurations: Iterable[Configuration]) -> Configuration:
    """Return the configuration with the lowest mean loss."""
    return min(configurations, key=lambda one: loss_of(losses, one))
