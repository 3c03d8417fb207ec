"""Draw what a run costs: memory against time, each arm at its best learning rate. And name the axis of memory."""

import matplotlib.pyplot as plt
import pandas as pd

from frontier.outcome_types import Status
from frontier.results.configurations import Configuration, axes_of
from frontier.results.derived import held_gib
from frontier.results.figures import bests
from frontier.results.figures.canvas import (
    COLOURS,
    HELD,
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
from frontier.results.figures.labels import draw_budget, label_points
from frontier.results.figures.notes import from_zero, tell_noise, tell_rates, warn_of_unlike
from frontier.results.figures.points import draw_points, mark_unfinished, none_has, point_keys

# The column that holds what the budget of memory counts.
MEMORY = "budget_gib"


def with_memory(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with what the budget of memory counts of each run, or what it would have needed at least."""
    memory = held_gib(table)
    return table.assign(**{MEMORY: memory.fillna(table["needs_gib"].astype(float)) if "needs_gib" in table else memory})


def memory_label(table: pd.DataFrame) -> str:
    """Return what an axis of that column says: what was counted in the runs, where it is the same in all of them."""
    rows = table.dropna(subset=["peak_memory_gib"])
    metrics = rows["memory_metric"].unique()
    if len(metrics) != 1:
        return "Peak memory (GiB)"
    held = rows["peak_held_gib"].notna() if "peak_held_gib" in rows else pd.Series(False, index=rows.index)
    if not held.any():
        return METRICS[metrics[0]]
    return HELD if held.all() else "Peak memory (GiB)"


def memory_time(results: Drawn, size=WIDE) -> plt.Figure:
    """Draw what a run costs: each run's memory, or what it would have needed at least, over its training time."""
    table, label = with_memory(results.at_best), memory_label(results.at_best)
    measured = table.dropna(subset=["train_seconds", MEMORY])
    figure, axes = canvas(size)
    if measured.empty:
        nothing(axes, none_has("peak memory and a training time", table))
        return figure
    divisor, unit = time_unit(measured["train_seconds"])
    table = table.assign(time=table["train_seconds"] / divisor)
    measured = table.loc[measured.index]
    axes.margins(x=0.14, y=0.14)
    axes.plot(table["time"].fillna(measured["time"].max()), table[MEMORY], ls="none")
    finished = measured[measured["status"] == Status.OK]
    for _, rows in in_order(finished):
        draw_points(axes, rows, "time", MEMORY, device_fills(table))
    axes.set(xlabel=f"Training time ({unit}, optimiser steps alone)", ylabel=label)
    tell_rates(axes, results)
    noise = tell_noise(axes, finished, {"memory": MEMORY, "time": "train_seconds"})
    from_zero(axes.yaxis, "memory" in noise)
    from_zero(axes.xaxis, "time" in noise)
    warn_of_unlike(axes, table)
    log_if_wide(axes.xaxis, measured["time"])
    log_if_wide(axes.yaxis, table[MEMORY])
    memory, hours = results.budget.get("memory_gib"), results.budget.get("hours")
    budgets = draw_budget(axes.yaxis, memory, f"memory budget {memory} GiB")
    budgets += draw_budget(axes.xaxis, hours and hours * 3600 / divisor, f"time budget {hours} h")
    # Before anything is placed, since the legend takes its room from the chart.
    legend(figure, point_keys(table) + budgets, 4 if size[0] > 5 else 2)
    labels = mark_unfinished(axes, table, "time", MEMORY, "{arms} {status}")
    label_points(axes, labels + _join_seeds(axes, finished, bool(device_fills(table))))
    return figure


def _join_seeds(axes, finished: pd.DataFrame, several_devices: bool) -> list[tuple]:
    """Join each arm's seeds with a line, on each device; return their labels as `label_points` takes them."""
    labels = []
    for _, rows in finished.groupby([*axes_of(finished), *(["device"] if several_devices else [])], dropna=False):
        rows = rows.sort_values("time")
        configuration = Configuration.of_row(rows.iloc[0])
        axes.plot(rows["time"], rows[MEMORY], color=COLOURS[configuration.precision], lw=0.9, zorder=1)
        labels.append((rows[["time", MEMORY]].to_numpy()[::-1], bests.name(configuration)))
    return labels
