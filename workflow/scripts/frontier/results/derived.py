"""Derive from the measurements of all runs how sure each one's is, how good a bargain it is, and whether it fits."""

import numpy as np
import pandas as pd

from frontier.outcome_types import Status
from frontier.results import columns, contrasts, uncertainty
from frontier.results.configurations import Configuration

_AXES = ["peak_memory_gib", "train_seconds", "perplexity"]
_TOO_COSTLY = (Status.OOM, Status.OVER_TIME, Status.SPILLED)


def with_derived_columns(summary: pd.DataFrame, runs: dict[str, pd.DataFrame], budget: dict) -> pd.DataFrame:
    """Return the summary with the columns of `columns.DERIVED`; a cell is empty where nothing can be said.

    `runs` has each run's `nll` and `tokens`, one row an example; `budget` has `memory_gib` and `hours`, or None.
    """
    bounds = perplexity_bounds(summary, runs)
    return columns.in_order(
        summary.assign(
            perplexity_low=bounds["low"],
            perplexity_high=bounds["high"],
            pareto=pareto(summary),
            fits=fits(summary, budget),
        )
    )


def perplexity_bounds(summary: pd.DataFrame, runs: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the 95% interval of each run's own perplexity, over other examples and not other seeds.

    The columns are `low` and `high`.
    """
    bounds = pd.DataFrame(index=summary.index, columns=["low", "high"], dtype=float)
    losses = contrasts.gather(summary, runs, {})
    for place, row in summary.dropna(subset=["perplexity"]).iterrows():
        column = losses.columns.get(Configuration.of_row(row), {}).get(row["seed"])
        if column is not None and len(losses.tokens) > 1:
            interval = uncertainty.over_examples(row["eval_loss"], losses.resampled[:, column])
            with np.errstate(over="ignore"):
                ends = np.exp([interval.low, interval.high])
            # Of a loss in the hundreds an end may be larger than any number of 64 bits.
            bounds.loc[place] = np.where(np.isfinite(ends), ends, np.nan)
    return bounds


def pareto(summary: pd.DataFrame) -> pd.Series:
    """Return for each run whether no other beats it in memory, time or perplexity without being worse in another.

    Compared are only runs that ended ok with all three measured, and only those of one device and memory metric. The
    rest is empty.
    """
    result = pd.Series(pd.NA, index=summary.index, dtype="boolean")
    measured = summary[summary["status"] == Status.OK].dropna(subset=_AXES)
    for _, rows in measured.groupby(["device", "memory_metric"]):
        values = rows[_AXES].to_numpy(float)
        no_worse = (values[:, None] <= values[None]).all(axis=2)
        better = (values[:, None] < values[None]).any(axis=2)
        result[rows.index] = ~(no_worse & better).any(axis=0)
    return result


def fits(summary: pd.DataFrame, budget: dict) -> pd.Series:
    """Return for each run whether it stays inside every limit that the budget sets.

    Empty where the budget sets none, or where what a limit is held against was not measured.
    """
    limits = {"held_gib": budget["memory_gib"], "train_seconds": budget["hours"] and budget["hours"] * 3600}
    limits = {column: limit for column, limit in limits.items() if limit is not None}
    result = pd.Series(pd.NA, index=summary.index, dtype="boolean")
    if not limits:
        return result
    costs = summary.assign(held_gib=held_gib(summary))[list(limits)].astype(float)
    result[costs.notna().all(axis=1)] = True
    result[(costs > pd.Series(limits)).any(axis=1) | summary["status"].isin(_TOO_COSTLY)] = False
    return result


def held_gib(summary: pd.DataFrame) -> pd.Series:
    """Return what a limit of memory is held against: all that a run's process had on the device, in GiB.

    That counts CUDA's context and the blocks that the allocator keeps. Where it was not measured, as without CUDA, it
    is what the memory metric counts.
    """
    measured = summary["peak_memory_gib"].astype(float)
    return summary["peak_held_gib"].astype(float).fillna(measured) if "peak_held_gib" in summary else measured
