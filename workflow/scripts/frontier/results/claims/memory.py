"""Judge what precision and rank cost in memory. docs/findings.md has each claim's rule."""

import math

import numpy as np
import pandas as pd

from frontier.results.claims.claim import (
    CONTRADICTED,
    INCONCLUSIVE,
    SPREAD_GIB,
    SUPPORTED,
    Evidence,
    claim,
    interval_record,
    listing,
    not_measured,
)
from frontier.results.configurations import axes_but
from frontier.results.uncertainty import Interval

_COLUMN = "peak_memory_gib"
_BASIS = "least and most of the differences, widened by the spread of repeats"


def rank_memory(results: Evidence) -> dict:
    """Judge whether the highest rank takes more memory than the lowest, by more than the spread of repeats.

    Compared are runs of one device, metric and seed whose configurations differ in rank alone.
    """
    name = "rank_memory"
    measured = results.summary[results.summary["status"] == "ok"].dropna(subset=[_COLUMN])
    pairs = _extremes(measured)
    if not pairs:
        return not_measured(name, "it takes the memory of two ranks at one precision on one device")
    spread = _spread(measured, {first["memory_metric"] for first, _ in pairs})
    differences = {last["run"]: float(last[_COLUMN] - first[_COLUMN]) for first, last in pairs}
    change = _widened(list(differences.values()), spread)
    if change.low > 0:
        verdict, word = SUPPORTED, "A higher rank takes more memory"
    elif change.high <= 0:
        verdict, word = CONTRADICTED, "A higher rank takes no more memory"
    else:
        verdict, word = INCONCLUSIVE, "What rank costs in memory does not exceed the spread of repeats"
    ranks = sorted({(int(first["rank"]), int(last["rank"])) for first, last in pairs})
    steps = listing(f"from rank {first} to {last}" for first, last in ranks)
    ends = f"{change.low:+.3f} to {change.high:+.3f}; repeats differ by {spread:.3f} GiB"
    sentence = f"{word}: {change.estimate:+.3f} GiB {steps} ({ends})."
    runs = [row["run"] for pair in pairs for row in pair]
    record = interval_record(change, "GiB", level=None)
    return claim(name, verdict, sentence, runs, {"difference_gib": differences, "spread_gib": spread}, record)


def nf4_memory(results: Evidence) -> dict:
    """Judge whether NF4 takes less memory than 16 bits, by more than the spread of repeats.

    Compared are runs of one device, metric and seed whose configurations differ in precision alone.
    """
    name, sixteen = "nf4_memory", results.sixteen_bit
    measured = results.summary[results.summary["status"] == "ok"].dropna(subset=[_COLUMN])
    keys = [*axes_but(measured, "precision"), "device", "memory_metric", "seed"]
    ours, others = (measured[measured["precision"] == one] for one in ("nf4", sixteen))
    pairs = ours.merge(others, on=keys, suffixes=("", "_16"))
    if pairs.empty:
        return not_measured(name, "it takes the memory of a 16-bit and an NF4 run of one rank and seed on one device")
    both = measured[measured["precision"].isin(["nf4", sixteen])]
    spread = _spread(both, set(pairs["memory_metric"]))
    less = dict(zip(pairs["run"], (pairs[f"{_COLUMN}_16"] - pairs[_COLUMN]).astype(float), strict=True))
    saved = _widened(list(less.values()), spread)
    if saved.low > 0:
        verdict, word = SUPPORTED, "NF4 takes less memory"
    elif saved.high <= 0:
        verdict, word = CONTRADICTED, "NF4 takes no less memory"
    else:
        verdict, word = INCONCLUSIVE, "What NF4 saves in memory does not exceed the spread of repeats"
    share = float((pairs[_COLUMN] / pairs[f"{_COLUMN}_16"]).mean())
    ends = f"{saved.low:+.3f} to {saved.high:+.3f}; repeats differ by {spread:.3f} GiB"
    sentence = f"{word}: {saved.estimate:+.3f} GiB saved against {sixteen} ({ends}); its peak is {share:.0%} of that."
    values = {"saved_gib": less, "share": share, "spread_gib": spread}
    runs = [*pairs["run_16"], *pairs["run"]]
    return claim(name, verdict, sentence, runs, values, interval_record(saved, "GiB saved", level=None))


def _alike(measured: pd.DataFrame) -> list[str]:
    """Return the columns in which runs agree that are compared; those that agree in rank too are repeats."""
    return [*axes_but(measured, "rank"), "device", "memory_metric"]


def _extremes(measured: pd.DataFrame) -> list[tuple[pd.Series, pd.Series]]:
    """Return the rows of the lowest and of the highest rank among runs that are otherwise alike, seed included."""
    pairs = []
    for _, cell in measured.groupby([*_alike(measured), "seed"], dropna=False):
        if cell["rank"].nunique() > 1:
            pairs.append((cell.loc[cell["rank"].idxmin()], cell.loc[cell["rank"].idxmax()]))
    return pairs


def _spread(measured: pd.DataFrame, metrics: set[str]) -> float:
    """Return by how much repeats differ, in GiB.

    That is what the metric is known for, or what runs that differ in their seed alone show where that is more.
    """
    repeats = measured.groupby([*_alike(measured), "rank"], dropna=False)[_COLUMN]
    differences = repeats.agg(lambda peaks: peaks.max() - peaks.min())
    assumed = max(SPREAD_GIB.get(metric, 0) for metric in metrics)
    return max(assumed, float(differences.max()))


def _widened(differences: list[float], spread: float) -> Interval:
    """Return the mean of the differences, with the least and the most of them, widened by the spread, as its ends."""
    estimate = float(np.mean(differences))
    return Interval(estimate, min(differences) - spread, max(differences) + spread, math.inf, _BASIS)
