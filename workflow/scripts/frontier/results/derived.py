"""What the summary says of each row beside its measurements: how sure, how good a bargain, and whether it fits."""

import numpy as np
import pandas as pd

from frontier.results import contrasts, uncertainty

_AXES = ["peak_memory_gib", "train_seconds", "perplexity"]
_TOO_COSTLY = ("oom", "over_time", "spilled")


def with_derived_columns(summary: pd.DataFrame, runs: dict[str, pd.DataFrame], budget: dict) -> pd.DataFrame:
    """The summary with `perplexity_low`, `perplexity_high`, `pareto` and `fits`; empty is what cannot be said.

    `runs` has each run's `nll` and `tokens`, one row an example; `budget` has `memory_gib` and `hours`, or None.
    """
    bounds = perplexity_bounds(summary, runs)
    frame = summary.copy()
    place = frame.columns.get_loc("perplexity") + 1
    frame.insert(place, "perplexity_low", bounds["low"])
    frame.insert(place + 1, "perplexity_high", bounds["high"])
    place = frame.columns.get_loc("device")
    frame.insert(place, "pareto", pareto(frame))
    frame.insert(place + 1, "fits", fits(frame, budget))
    return frame


def perplexity_bounds(summary: pd.DataFrame, runs: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A 95% interval of each run's own perplexity, over other examples and not other seeds: columns `low`, `high`."""
    bounds = pd.DataFrame(index=summary.index, columns=["low", "high"], dtype=float)
    losses = contrasts.gather(summary, runs, {})
    for row in summary.dropna(subset=["perplexity"]).itertuples():
        column = losses.columns.get((row.precision, row.rank), {}).get(row.seed)
        if column is not None and len(losses.tokens) > 1:
            interval = uncertainty.over_examples(row.eval_loss, losses.resampled[:, column])
            bounds.loc[row.Index] = np.exp([interval.low, interval.high])
    return bounds


def pareto(summary: pd.DataFrame) -> pd.Series:
    """Whether no run beats a run in one of memory, time and perplexity without being worse in another.

    Only runs that ended ok with all three measured, and only against runs of the same device and memory metric.
    """
    result = pd.Series(pd.NA, index=summary.index, dtype="boolean")
    measured = summary[summary["status"] == "ok"].dropna(subset=_AXES)
    for _, rows in measured.groupby(["device", "memory_metric"]):
        values = rows[_AXES].to_numpy(float)
        no_worse = (values[:, None] <= values[None]).all(axis=2)
        better = (values[:, None] < values[None]).any(axis=2)
        result[rows.index] = ~(no_worse & better).any(axis=0)
    return result


def fits(summary: pd.DataFrame, budget: dict) -> pd.Series:
    """Whether each run stays inside every limit that the budget sets; empty without a limit or a measurement."""
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
    """What a limit of memory is held against: all that a run's process had on the device, context and kept blocks too.

    Where that was not measured, as without CUDA, what the memory metric counts.
    """
    measured = summary["peak_memory_gib"].astype(float)
    return summary["peak_held_gib"].astype(float).fillna(measured) if "peak_held_gib" in summary else measured
