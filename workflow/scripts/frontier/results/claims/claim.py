"""What a claim is made of, and the words and yardsticks that all claims share."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from frontier.results.contrasts import Losses, contrast
from frontier.results.uncertainty import Interval

SUPPORTED, CONTRADICTED, INCONCLUSIVE, NOT_MEASURED = VERDICTS = (
    "supported",
    "contradicted",
    "inconclusive",
    "not_measured",
)
# How often a claim may be wrong; where it picks one of several comparisons, each has its share of that.
ALPHA = 0.05
# A difference in perplexity below 2%, or in time below 5%, is no reason to choose a run.
NEGLIGIBLE_LOSS = math.log(1.02)
NEGLIGIBLE_TIME = math.log(1.05)
# Two repeats of one run differ by as much in resident memory; what CUDA allocates repeats.
SPREAD_GIB = {"host_rss": 0.05}


@dataclass(frozen=True)
class Evidence:
    """All that a verdict depends on: the summary's rows, the losses, and the two sets of limits from the config."""

    summary: pd.DataFrame
    losses: Losses
    budget: dict
    recommend: dict

    @property
    def sixteen_bit(self) -> str | None:
        """The precision that stands for 16 bits: fp16 where there is a run of it, else bf16, else none."""
        present = set(self.summary["precision"])
        return next((name for name in ("fp16", "bf16") if name in present), None)

    def rows(self, precision: str | None) -> pd.DataFrame:
        return self.summary[self.summary["precision"] == precision]

    def runs(self, *configurations: tuple[str, int]) -> list[str]:
        """The names of the runs of configurations (precision, rank), in the summary's order."""
        keys = list(zip(self.summary["precision"], self.summary["rank"], strict=True))
        return [run for run, key in zip(self.summary["run"], keys, strict=True) if key in configurations]


def claim(name: str, verdict: str, sentence: str, runs=(), values: dict | None = None, interval=None) -> dict:
    """A claim as findings.json has it; `interval` is an `interval_record`, or None where there is none."""
    evidence = {"runs": list(runs), "values": plain(values or {}), "interval": interval}
    return {"id": name, "verdict": verdict, "sentence": sentence, "evidence": evidence}


def not_measured(name: str, reason: str, runs=()) -> dict:
    return claim(name, NOT_MEASURED, f"Not measured: {reason}.", runs)


def interval_record(interval: Interval, unit: str, transform=lambda value: value) -> dict:
    """An interval as JSON, its numbers transformed; None where it has no end."""
    bounds = {name: getattr(interval, name) for name in ("estimate", "low", "high")}
    bounds = {name: transform(value) if math.isfinite(value) else None for name, value in bounds.items()}
    return plain(bounds) | {"level": 0.95, "unit": unit, "basis": interval.basis}


def plain(value):
    """Numbers of numpy and pandas as Python's own; what is not finite, None."""
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
    """What a difference of losses in nats a token, or of logarithms of time, is as a percentage of the lower one."""
    return 100 * float(np.expm1(difference))


def percents(interval: Interval) -> str:
    """A difference of losses as text, say +8.2% (+6.0% to +10.5%; this seed only)."""
    return span(interval, lambda value: f"{percent(value):+.1f}%")


def span(interval: Interval, form) -> str:
    """An interval as text, each of its numbers as `form` writes it."""
    ends = f"{form(interval.low)} to {form(interval.high)}; " if math.isfinite(interval.low) else ""
    return f"{form(interval.estimate)} ({ends}{interval.basis})"


def listing(items) -> str:
    """Items as prose: 8, 16 and 32."""
    items = [str(item) for item in items]
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def loss_of(results: Evidence, configuration: tuple[str, int]) -> float:
    """A configuration's mean loss over its seeds, nats a token."""
    return contrast(results.losses, {configuration: 1}).estimate


def perplexity_of(results: Evidence, configuration: tuple[str, int]) -> float:
    return math.exp(loss_of(results, configuration))


def best_of(results: Evidence, configurations: list[tuple[str, int]]) -> tuple[str, int]:
    return min(configurations, key=lambda one: loss_of(results, one))


def title(configuration: tuple[str, int]) -> str:
    return f"{configuration[0]} rank {configuration[1]}"


def percent_record(interval: Interval) -> dict:
    return interval_record(interval, "% of perplexity", percent)
