"""Draw the trade-off: perplexity against memory and against time, a point a configuration, with the frontier."""

from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd

from frontier.outcome_types import Status
from frontier.results.figures import bests
from frontier.results.figures.canvas import (
    COLOURS,
    INK,
    LOWER_IS_BETTER,
    MARKERS,
    MUTED,
    SURFACE,
    WIDE,
    Drawn,
    canvas,
    device_fills,
    legend,
    log_if_wide,
    nothing,
    time_unit,
)
from frontier.results.figures.costs import MEMORY, memory_label, with_memory
from frontier.results.figures.labels import draw_budget, label_points
from frontier.results.figures.looks import LEVEL, RING, STAR
from frontier.results.figures.notes import from_zero, tell_noise, tell_rates, warn_of_unlike
from frontier.results.figures.points import mark_unfinished, none_has, stand_keys
from frontier.results.figures.standing import Point, frontiers, points

# How strongly is drawn what is beaten.
_FAINT = 0.45
# Of more points than these the beaten ones are not named: their names would cover the others.
_NAMED = 16


class _Cost(NamedTuple):
    """A cost that is drawn against: its column and its word, the axis' label, its budget there and in words."""

    column: str
    word: str
    label: str
    limit: float | None
    limit_text: str


def perplexity_memory(results: Drawn, size=WIDE) -> plt.Figure:
    """Draw what memory buys: perplexity over what the budget of memory counts."""
    memory = results.budget.get("memory_gib")
    table = with_memory(results.at_best)
    cost = _Cost(MEMORY, "memory", memory_label(table), memory, f"memory budget {memory} GiB")
    return _against(results, table, cost, size)


def perplexity_time(results: Drawn, size=WIDE) -> plt.Figure:
    """Draw what time buys: perplexity over training time."""
    hours, table = results.budget.get("hours"), results.at_best
    divisor, unit = time_unit(table["train_seconds"])
    table = table.assign(time=table["train_seconds"] / divisor)
    label = f"Training time ({unit}, optimiser steps alone)"
    cost = _Cost("time", "time", label, hours and hours * 3600 / divisor, f"time budget {hours} h")
    return _against(results, table, cost, size)


def _against(results: Drawn, table: pd.DataFrame, cost: _Cost, size) -> plt.Figure:
    """Draw each configuration's perplexity over a cost: its interval, its repeats' spread, the frontier, the budget."""
    stands = points(results, table, cost.column)
    figure, axes = canvas(size)
    if not stands:
        what = "peak memory" if cost.word == "memory" else "training time"
        nothing(axes, none_has(f"perplexity and a {what}", table))
        return figure
    axes.margins(x=0.14, y=0.14)
    axes.plot(table[cost.column], table["perplexity"].where(table["status"] != Status.OK), ls="none")
    fills = device_fills(table)
    for one in stands:
        _draw_point(axes, one, fills)
    for one in stands:
        if one.best.is_reference and one.best.bar is None and any(other.best.bar for other in stands):
            axes.axhline(one.best.perplexity, zorder=1, **LEVEL)
    axes.set(xlabel=cost.label, ylabel=LOWER_IS_BETTER)
    tell_rates(axes, results)
    finished = table[table["status"] == Status.OK]
    is_noise = tell_noise(axes, finished, {cost.word: "train_seconds" if cost.word == "time" else cost.column})
    from_zero(axes.xaxis, bool(is_noise))
    # An order that is noise makes no line.
    lines = [] if is_noise else [line for line in frontiers(stands) if len(line) > 1]
    for line in lines:
        axes.plot([one.cost for one in line], [one.best.perplexity for one in line], color=INK, lw=1.2, zorder=1.8)
    warn_of_unlike(axes, table)
    log_if_wide(axes.xaxis, table[cost.column].dropna())
    log_if_wide(axes.yaxis, pd.Series([one.best.perplexity for one in stands]))
    budget = draw_budget(axes.xaxis, cost.limit, cost.limit_text)
    keys = stand_keys(table, stands, bool(lines)) + budget
    legend(figure, keys, 2 if size[0] < WIDE[0] else 4 if size[0] <= WIDE[0] else 7)
    label_points(axes, mark_unfinished(axes, table, cost.column, "perplexity", "{arms} {status}"))
    for is_strong, colour in ((True, INK), (False, MUTED)):
        some = [one for one in stands if one.is_strong == is_strong and (is_strong or len(stands) <= _NAMED)]
        names = [([(one.cost, one.best.perplexity)], bests.name(one.best.arm)) for one in some]
        label_points(axes, names, color=colour)
    return figure


def _draw_point(axes, one: Point, fills: dict[str, str]) -> None:
    """Draw a configuration's marker with its bars, faint where it is beaten, on a star where it is recommended."""
    precision = one.best.arm.precision
    colour, strength = COLOURS[precision], 1 if one.is_strong else _FAINT
    level = one.best.perplexity
    if one.best.bar:
        axes.vlines(one.cost, *one.best.bar, color=colour, lw=1.3, alpha=0.7 * strength)
    if one.spread[0] < one.spread[1]:
        axes.hlines(level, *one.spread, color=colour, lw=1.3, alpha=0.7 * strength)
    if one.is_recommended:
        axes.plot(one.cost, level, zorder=2.8, **STAR)
    if one.on_frontier:
        axes.plot(one.cost, level, zorder=2.7, **RING | {"ms": 11.5, "mew": 1.1})
    edge = {"fillstyle": fills[one.device], "markerfacecoloralt": SURFACE} if fills else {"mec": SURFACE, "mew": 0.8}
    look = {"ls": "none", "marker": MARKERS[precision], "ms": 6.5, "color": colour, "zorder": 3}
    axes.plot(one.cost, level, alpha=strength, **look, **edge)
