"""Derive from the measurements of all runs how sure each one's is, how good a bargain it is, and whether it fits."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from frontier.outcome_types import Status
from frontier.results import columns, contrasts, uncertainty
from frontier.results.configurations import Configuration
from frontier.results.contrasts import Losses
from frontier.results.frontier import frontier

# What `against_base` says of a run.
BETTER, WORSE, LEVEL = "better", "worse", "not told apart"
_TOO_COSTLY = (Status.OOM, Status.OVER_TIME, Status.SPILLED)


def with_derived_columns(
    summary: pd.DataFrame,
    runs: dict[str, pd.DataFrame],
    budget: dict,
    baselines: dict[str, pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """Return the summary with the columns of `columns.DERIVED`; a cell is empty where nothing can be said.

    `runs` has each run's `nll` and `tokens`, one row an example, `baselines` those of the base model at each precision;
    `budget` has `memory_gib` and `hours`, or None.
    """
    losses = contrasts.gather(summary, runs, baselines or {})
    bounds = perplexity_bounds(summary, losses)
    summary = summary.assign(
        perplexity_low=bounds["low"],
        perplexity_high=bounds["high"],
        against_base=against_base(summary, losses),
        fits=fits(summary, budget),
    )
    named = zip(summary.index, summary["run"], strict=True)
    frames = {place: runs[run] for place, run in named if contrasts.is_measured(runs[run])}
    standing = frontier(summary, frames)
    return columns.in_order(summary.assign(pareto=standing["pareto"], beaten_by=standing["beaten_by"]))


def columns_of(summary: pd.DataFrame, losses: Losses) -> Mapping:
    """Return the column of `losses` that each row with a perplexity has, by the row's index."""
    rows = summary.dropna(subset=["perplexity"]).iterrows()
    found = {place: losses.columns.get(Configuration.of_row(row), {}).get(row["seed"]) for place, row in rows}
    return {place: column for place, column in found.items() if column is not None and len(losses.tokens) > 1}


def perplexity_bounds(summary: pd.DataFrame, losses: Losses) -> pd.DataFrame:
    """Return the 95% interval of each run's own perplexity, over other examples and not other seeds.

    The columns are `low` and `high`.
    """
    bounds = pd.DataFrame(index=summary.index, columns=["low", "high"], dtype=float)
    for place, column in columns_of(summary, losses).items():
        interval = uncertainty.over_examples(summary.loc[place, "eval_loss"], losses.resampled[:, column])
        with np.errstate(over="ignore"):
            ends = np.exp([interval.low, interval.high])
        # Of a loss in the hundreds an end may be larger than any number of 64 bits.
        bounds.loc[place] = np.where(np.isfinite(ends), ends, np.nan)
    return bounds


def against_base(summary: pd.DataFrame, losses: Losses) -> pd.Series:
    """Return for each run whether it is better or worse than its own base before training, or not told apart from it.

    That is judged by the 95% interval of their difference on the same examples. Empty where either was not measured.
    """
    found: dict = {}
    for place, column in columns_of(summary, losses).items():
        base = losses.columns.get(Configuration.base(summary.loc[place, "precision"]), {}).get(None)
        if base is not None:
            apart = losses.resampled[:, column] - losses.resampled[:, base]
            interval = uncertainty.over_examples(float(apart.mean()), apart)
            found[place] = WORSE if interval.low > 0 else BETTER if interval.high < 0 else LEVEL
    return pd.Series([found.get(place) for place in summary.index], index=summary.index, dtype=object)


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
