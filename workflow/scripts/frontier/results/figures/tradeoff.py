"""Draw the trade-off: memory against time, and perplexity against time and rank."""

from dataclasses import replace

import matplotlib.pyplot as plt
import pandas as pd

from frontier.outcome_types import Status
from frontier.results.configurations import Configuration, axes_of
from frontier.results.figures.canvas import (
    COLOURS,
    INK,
    METRICS,
    MUTED,
    WIDE,
    Drawn,
    canvas,
    device_fills,
    in_order,
    legend,
    log_if_wide,
    note,
    nothing,
    time_unit,
)
from frontier.results.figures.labels import draw_limit, label_ends, label_points
from frontier.results.figures.points import draw_points, mark_unfinished, none_has, point_keys

_LOWER_IS_BETTER = "Validation perplexity (lower is better)"
# How far apart the precisions of one rank stand: each by this factor further right than the one before.
_SIDE_STEP = 1.035
# Bases' lines that would stretch the vertical axis by more than this factor become a note.
_MOST_STRETCH = 2.5


def memory_time(results: Drawn, size=WIDE) -> plt.Figure:
    """Draw what a run costs: its peak memory, or what it would have needed at least, over its training time."""
    metrics = results.table["memory_metric"].dropna().unique()
    label = METRICS[metrics[0]] if len(metrics) == 1 else "Peak memory (GiB)"
    if "needs_gib" in results.table:
        known = results.table["peak_memory_gib"].fillna(results.table["needs_gib"])
        results = replace(results, table=results.table.assign(peak_memory_gib=known))
    return _scatter(results, "peak_memory_gib", label, size, results.budget.get("memory_gib"))


def perplexity_time(results: Drawn, size=WIDE) -> plt.Figure:
    """Draw what time buys: perplexity, with its 95% interval, over training time."""
    return _scatter(results, "perplexity", _LOWER_IS_BETTER, size)


def perplexity_rank(results: Drawn, size=WIDE) -> plt.Figure:
    """Draw what rank buys: perplexity, with its 95% interval, over rank, and each base's before any training."""
    figure, axes = canvas(size)
    table = results.table
    measured = table.dropna(subset=["perplexity"])
    if measured.empty:
        nothing(axes, none_has("perplexity", table))
        return figure
    # The precisions stand side by side, so that no interval or cross hides another.
    names = [name for name, _ in in_order(table)]
    shifts = {name: _SIDE_STEP ** (position - (len(names) - 1) / 2) for position, name in enumerate(names)}
    table = table.assign(place=table["rank"] * table["precision"].map(shifts))
    ends = []
    for precision, rows in in_order(table.loc[measured.index]):
        mean = rows.groupby("place")["perplexity"].mean()
        axes.plot(mean.index, mean, color=COLOURS[precision], lw=1.8)
        draw_points(axes, rows, "place", "perplexity", device_fills(table))
        ends.append((mean.iloc[-1], precision, INK))
    _rank_axis(axes, sorted(table["rank"].unique()))
    axes.set(xlabel="LoRA rank", ylabel=_LOWER_IS_BETTER)
    axes.margins(y=0.1)
    _warn_of_unlike(axes, table)
    ends += _draw_bases(axes, measured.groupby("precision")["base_perplexity"].first().dropna())
    label_points(axes, mark_unfinished(axes, table, "place", "perplexity", "{status}"))
    label_ends(axes, ends)
    legend(figure, point_keys(table), 4 if size[0] > 5 else 2)
    return figure


def _scatter(results: Drawn, column: str, label: str, size, memory_budget: float | None = None) -> plt.Figure:
    """Draw each run as a point over its training time, a configuration's seeds joined and named; and the limits."""
    table = results.table
    measured = table.dropna(subset=["train_seconds", column])
    figure, axes = canvas(size)
    if measured.empty:
        nothing(axes, none_has(f"{label.split(' (')[0].lower()} and a training time", table))
        return figure
    divisor, unit = time_unit(measured["train_seconds"])
    table = table.assign(time=table["train_seconds"] / divisor)
    measured = table.loc[measured.index]
    axes.margins(x=0.14, y=0.14)
    axes.plot(table["time"].fillna(measured["time"].max()), table[column], ls="none")
    finished = measured[measured["status"] == Status.OK]
    for _, rows in in_order(finished):
        draw_points(axes, rows, "time", column, device_fills(table))
    axes.set(xlabel=f"Training time ({unit}, optimiser steps alone)", ylabel=label)
    _warn_of_unlike(axes, table)
    log_if_wide(axes.xaxis, measured["time"])
    log_if_wide(axes.yaxis, table[column])
    hours = results.budget.get("hours")
    draw_limit(axes.yaxis, memory_budget, f"memory budget {memory_budget} GiB")
    draw_limit(axes.xaxis, hours and hours * 3600 / divisor, f"time budget {hours} h")
    labels = mark_unfinished(axes, table, "time", column, "r{ranks} {status}")
    label_points(axes, labels + _join_seeds(axes, finished, column, bool(device_fills(table))))
    legend(figure, point_keys(table), 4 if size[0] > 5 else 2)
    return figure


def _join_seeds(axes, finished: pd.DataFrame, column: str, several_devices: bool) -> list[tuple]:
    """Join each configuration's seeds with a line, on each device; return their labels as `label_points` takes them."""
    labels = []
    for _, rows in finished.groupby([*axes_of(finished), *(["device"] if several_devices else [])], dropna=False):
        rows = rows.sort_values("time")
        configuration = Configuration.of_row(rows.iloc[0])
        axes.plot(rows["time"], rows[column], color=COLOURS[configuration.precision], lw=0.9, zorder=1)
        labels.append((rows[["time", column]].to_numpy()[::-1], configuration.label()))
    return labels


def _rank_axis(axes, ranks: list[int]) -> None:
    """Make the horizontal axis one of ranks: logarithmic, with a tick at each."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(rank) for rank in ranks])
    axes.minorticks_off()
    axes.set_xlim(ranks[0] / 1.25, ranks[-1] * 1.25)


def _draw_bases(axes, bases: pd.Series) -> list[tuple]:
    """Draw each base's own perplexity as a dashed line, or as a note where the lines would flatten what rank does.

    Returns the lines' labels as `label_ends` takes them.
    """
    low, high = axes.get_ylim()
    if bases.empty:
        return []
    if max(high, bases.max()) - min(low, bases.min()) > _MOST_STRETCH * (high - low):
        listed = ", ".join(f"{precision} {base:.2f}" for precision, base in bases.items())
        note(axes, f"before training: {listed}")
        return []
    for precision, base in bases.items():
        axes.axhline(base, color=COLOURS[precision], ls=(0, (4, 3)), lw=1.2)
    return [(base, f"{precision} untrained", MUTED) for precision, base in bases.items()]


def _warn_of_unlike(axes, table: pd.DataFrame) -> None:
    """Say on the chart itself that its runs were not made alike."""
    if "notes" in table and table["notes"].notna().any():
        count = table["notes"].notna().sum()
        note(axes, f"{count} of {len(table)} runs on another machine or other versions (notes)", COLOURS["nf4"])
