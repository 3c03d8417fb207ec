"""Draw the trade-off: memory against time, and perplexity against time, each arm at its best learning rate."""

import matplotlib.pyplot as plt
import pandas as pd

from frontier.outcome_types import Status
from frontier.results.configurations import Configuration, axes_of
from frontier.results.figures import bests
from frontier.results.figures.canvas import (
    COLOURS,
    LOWER_IS_BETTER,
    METRICS,
    WIDE,
    Drawn,
    canvas,
    device_fills,
    in_order,
    legend,
    log_if_wide,
    nothing,
    time_unit,
)
from frontier.results.figures.labels import draw_limit, label_points
from frontier.results.figures.notes import tell_rates, warn_of_unlike
from frontier.results.figures.points import draw_points, mark_unfinished, none_has, point_keys


def memory_time(results: Drawn, size=WIDE) -> plt.Figure:
    """Draw what a run costs: its peak memory, or what it would have needed at least, over its training time."""
    metrics = results.table["memory_metric"].dropna().unique()
    label = METRICS[metrics[0]] if len(metrics) == 1 else "Peak memory (GiB)"
    table = results.at_best
    if "needs_gib" in table:
        table = table.assign(peak_memory_gib=table["peak_memory_gib"].fillna(table["needs_gib"]))
    return _scatter(results, table, "peak_memory_gib", label, size)


def perplexity_time(results: Drawn, size=WIDE) -> plt.Figure:
    """Draw what time buys: perplexity, with its 95% interval, over training time."""
    return _scatter(results, results.at_best, "perplexity", LOWER_IS_BETTER, size)


def _scatter(results: Drawn, table: pd.DataFrame, column: str, label: str, size) -> plt.Figure:
    """Draw each run of the table as a point over its training time, an arm's seeds joined and named; and the limits."""
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
    tell_rates(axes, results)
    warn_of_unlike(axes, table)
    log_if_wide(axes.xaxis, measured["time"])
    log_if_wide(axes.yaxis, table[column])
    # Before anything is placed, since the legend takes its room from the chart.
    legend(figure, point_keys(table), 4 if size[0] > 5 else 2)
    memory = results.budget.get("memory_gib") if column == "peak_memory_gib" else None
    hours = results.budget.get("hours")
    draw_limit(axes.yaxis, memory, f"memory budget {memory} GiB")
    draw_limit(axes.xaxis, hours and hours * 3600 / divisor, f"time budget {hours} h")
    labels = mark_unfinished(axes, table, "time", column, "{arms} {status}")
    label_points(axes, labels + _join_seeds(axes, finished, column, bool(device_fills(table))))
    return figure


def _join_seeds(axes, finished: pd.DataFrame, column: str, several_devices: bool) -> list[tuple]:
    """Join each arm's seeds with a line, on each device; return their labels as `label_points` takes them."""
    labels = []
    for _, rows in finished.groupby([*axes_of(finished), *(["device"] if several_devices else [])], dropna=False):
        rows = rows.sort_values("time")
        configuration = Configuration.of_row(rows.iloc[0])
        axes.plot(rows["time"], rows[column], color=COLOURS[configuration.precision], lw=0.9, zorder=1)
        labels.append((rows[["time", column]].to_numpy()[::-1], bests.name(configuration)))
    return labels
