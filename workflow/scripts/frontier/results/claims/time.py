"""Judge what precision and rank cost in time. docs/findings.md has each claim's rule."""

import math

import numpy as np
import pandas as pd
from scipy import stats

from frontier.results.claims.claim import (
    CONTRADICTED,
    INCONCLUSIVE,
    NEGLIGIBLE_TIME,
    SUPPORTED,
    Evidence,
    claim,
    interval_record,
    listing,
    not_measured,
    percent,
    percents,
    verdict_of,
)
from frontier.results.configurations import axes_but
from frontier.results.uncertainty import Interval

# How many times as fast NF4 has to be: the published study's least.
SPEEDUP = 10
# Without a second pair to say how far clocks vary, a ratio must be this much off ten to be judged.
_CLOCK_FACTOR = 1.5


def nf4_speedup(results: Evidence) -> dict:
    """Judge whether NF4 trains at least ten times as fast as 16-bit.

    Compared are pairs of one seed and device whose configurations differ in precision alone.
    """
    name, sixteen = "nf4_speedup", results.sixteen_bit
    pairs = _timed_pairs(results.summary, sixteen)
    if pairs.empty:
        return not_measured(name, "it takes a 16-bit and an NF4 run of one rank and seed that finished on one device")
    ratios = (pairs["train_seconds_16"] / pairs["train_seconds_nf4"]).to_numpy(float)
    several = len(ratios) > 1
    logarithm = mean_interval(np.log(ratios), "pairs of runs" if several else "pair of runs")
    ratio = _exp(logarithm.estimate)
    low, high = ratio / _CLOCK_FACTOR, ratio * _CLOCK_FACTOR
    if several:
        low, high = _exp(logarithm.low), _exp(logarithm.high)
    verdict = SUPPORTED if low >= SPEEDUP else CONTRADICTED if high < SPEEDUP else INCONCLUSIVE
    ends = f"({low:.2f} to {high:.2f}, {logarithm.basis})" if several else "(one pair of runs, no interval)"
    devices = listing(sorted(pairs["device"].unique()))
    sentence = f"NF4 trains {ratio:.2f} times as fast as {sixteen} {ends} on {devices}, where ten times was claimed."
    if (pairs["status_16"] == "spilled").any():
        sentence += " The 16-bit clock includes spilling into host memory."
    runs, values = [*pairs["run_16"], *pairs["run_nf4"]], {"ratio": dict(zip(pairs["run_nf4"], ratios, strict=True))}
    record = interval_record(logarithm, "times as fast", _exp) if several else None
    return claim(name, verdict, sentence, runs, values, record)


def nf4_time(results: Evidence) -> dict:
    """Judge whether NF4 takes longer than 16 bits, between pairs of one seed and device that differ in precision alone.

    A spilled run's clock does not count.
    """
    name, sixteen = "nf4_time", results.sixteen_bit
    pairs = _timed_pairs(results.summary[results.summary["status"] == "ok"], sixteen)
    if pairs.empty:
        return not_measured(name, "it takes a 16-bit and an NF4 run of one rank and seed that ended ok on one device")
    logs = np.log((pairs["train_seconds_nf4"] / pairs["train_seconds_16"]).to_numpy(float))
    change = mean_interval(logs, "pairs of runs" if len(logs) > 1 else "pair of runs")
    runs = [*pairs["run_16"], *pairs["run_nf4"]]
    values = {"percent": {run: percent(log) for run, log in zip(pairs["run_nf4"], logs, strict=True)}}
    if not math.isfinite(change.low):
        sentence = f"NF4 changes training time by {percents(change)} against {sixteen}; one pair has no interval."
        return claim(name, INCONCLUSIVE, sentence, runs, values)
    verdict = verdict_of(change, NEGLIGIBLE_TIME)
    words = {
        SUPPORTED: "NF4 takes longer",
        CONTRADICTED: "NF4 costs no time that matters",
        INCONCLUSIVE: "What NF4 costs in time is lost in noise",
    }
    record = interval_record(change, f"% of {sixteen}'s training time", percent)
    sentence = f"{words[verdict]}: {percents(change)} of training time against {sixteen}."
    return claim(name, verdict, sentence, runs, values, record)


def rank_time(results: Evidence) -> dict:
    """Judge whether the highest rank trains slower than the lowest, by a line through the logarithm of time over rank.

    Configurations that differ in more than rank have a level of their own, as has each device, so that times of unlike
    devices are never compared.
    """
    name = "rank_time"
    timed = results.summary[results.summary["status"] == "ok"].dropna(subset=["train_seconds"])
    alike = timed.groupby([*axes_but(timed, "rank"), "device"], dropna=False)
    cells = [rows for _, rows in alike if rows["rank"].nunique() > 1]
    if not cells:
        return not_measured(name, "it takes the time of two ranks at one precision on one device")
    timed = pd.concat(cells)
    low, high = int(timed["rank"].min()), int(timed["rank"].max())
    change = slope(cells, "train_seconds", high - low)
    runs, values = list(timed["run"]), {"seconds": dict(zip(timed["run"], timed["train_seconds"], strict=True))}
    reach = f"from rank {low} to {high}"
    if not math.isfinite(change.low):
        sentence = f"Training time changes by {percents(change)} {reach}; there are too few runs for an interval."
        return claim(name, INCONCLUSIVE, sentence, runs, values)
    verdict = verdict_of(change, NEGLIGIBLE_TIME)
    words = {
        SUPPORTED: "A higher rank takes longer",
        CONTRADICTED: "Rank costs no time that matters",
        INCONCLUSIVE: "What rank costs in time is lost in noise",
    }
    record = interval_record(change, f"% of training time, {reach}", percent)
    return claim(name, verdict, f"{words[verdict]}: {percents(change)} {reach}.", runs, values, record)


def mean_interval(values: np.ndarray, basis: str) -> Interval:
    """Return Student's t interval of a mean; that of a single value has no ends."""
    count, estimate = len(values), float(np.mean(values))
    if count < 2:
        return Interval(estimate, -math.inf, math.inf, math.inf, f"{count} {basis}")
    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    half = float(stats.t.ppf(0.975, count - 1)) * error
    return Interval(estimate, estimate - half, estimate + half, error, f"{count} {basis}")


def slope(cells: list[pd.DataFrame], column: str, reach: float) -> Interval:
    """Return the change of a column's logarithm over `reach` ranks, by least squares with a level for each cell."""
    rank = np.concatenate([cell["rank"] - cell["rank"].mean() for cell in cells]).astype(float)
    logs = [np.log(cell[column].to_numpy(float)) for cell in cells]
    change = np.concatenate([log - log.mean() for log in logs])
    estimate = float(rank @ change / (rank @ rank))
    freedom = len(rank) - len(cells) - 1
    basis = f"{len(rank)} runs"
    if freedom < 1:
        return Interval(reach * estimate, -math.inf, math.inf, math.inf, basis)
    error = math.sqrt(float(((change - estimate * rank) ** 2).sum()) / freedom / float(rank @ rank))
    half = float(stats.t.ppf(0.975, freedom)) * error
    return Interval(reach * estimate, reach * (estimate - half), reach * (estimate + half), reach * error, basis)


def _timed_pairs(summary: pd.DataFrame, sixteen: str | None) -> pd.DataFrame:
    """Return a row for each 16-bit and NF4 run that can be compared; columns end in `_16` and `_nf4`.

    A spilled run's clock counts here and nowhere else: what spilling costs is what the claim is about.
    """
    timed = summary[summary["status"].isin(["ok", "spilled"])].dropna(subset=["train_seconds"])
    return timed[timed["precision"] == sixteen].merge(
        timed[timed["precision"] == "nf4"],
        on=[*axes_but(timed, "precision"), "seed", "device"],
        suffixes=("_16", "_nf4"),
    )


def _exp(value: float) -> float:
    return float(np.exp(value))
