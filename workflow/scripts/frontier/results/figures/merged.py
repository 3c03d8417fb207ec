"""Draw perplexity against memory and against time over several studies, in a colour for each card."""

from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D

from frontier.results.configurations import Configuration, axes_of
from frontier.results.figures.bests import name
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
    in_order,
    legend,
    log_if_wide,
    nothing,
    time_unit,
)
from frontier.results.figures.labels import draw_budget, label_points
from frontier.results.figures.notes import tell_rates
from frontier.results.figures.points import none_has

# The columns that may give a point its colour, the first of which the runs have several values, and else the last.
_COLOURED_BY = {"device": "card", "folder": "study", "precision": "precision"}
# Of so many configurations each is named; of more only those on the frontier are.
_NAMED = 12
# The markers' sizes by the place of their colour.
_SIZES = (8.5, 5.5, 3.0)
_POINT: dict[str, Any] = {"ls": "none", "mec": SURFACE, "mew": 0.8}


@dataclass(frozen=True)
class _Colours:
    """By which column points are coloured, and the colour of each of its values."""

    column: str
    of: dict[str, str]


def coloured_by(table: pd.DataFrame) -> str:
    """Return what a colour stands for in the figures of a table: card, study or precision."""
    return _COLOURED_BY[_colours(table).column]


def perplexity_memory(results: Drawn, size=WIDE) -> plt.Figure:
    """Draw what memory buys: perplexity, with its 95% interval, over what a run had on its card."""
    return _scatter(results, "held_gib", "Memory on the card (GiB)", size)


def perplexity_hours(results: Drawn, size=WIDE) -> plt.Figure:
    """Draw what time buys: perplexity, with its 95% interval, over training time."""
    return _scatter(results, "train_seconds", "Training time ({unit}, optimiser steps alone)", size)


def _scatter(results: Drawn, column: str, label: str, size) -> plt.Figure:
    """Draw each run that ended ok, each arm at its best rate, as a point, and the limit of the horizontal axis."""
    table = results.at_best.dropna(subset=[column, "perplexity"])
    figure, axes = canvas(size)
    if table.empty:
        nothing(axes, none_has(f"perplexity and {label.split(' (')[0].lower()}", results.table))
        return figure
    divisor, unit = time_unit(table[column]) if column == "train_seconds" else (1, "")
    table = table.assign(across=table[column] / divisor)
    colours = _colours(results.table)
    axes.margins(x=0.14, y=0.14)
    for _, rows in in_order(table):
        _draw_points(axes, rows, colours)
    axes.set(xlabel=label.format(unit=unit), ylabel=LOWER_IS_BETTER)
    tell_rates(axes, results)
    log_if_wide(axes.xaxis, table["across"])
    memory, hours = results.budget.get("memory_gib"), results.budget.get("hours")
    if column == "held_gib":
        limit = draw_budget(axes.xaxis, memory, f"limit {memory} GiB")
    else:
        limit = draw_budget(axes.xaxis, hours and hours * 3600 / divisor, f"limit {hours} h")
    # Before labels are placed, since the legend takes its room from the chart.
    legend(figure, _keys(table, colours) + limit, 3 if size[0] > 5 else 1)
    label_points(axes, _join_seeds(axes, table, colours))
    return figure


def _colours(table: pd.DataFrame) -> _Colours:
    """Return the colours of the points of a table."""
    for column in ("device", "folder"):
        values = sorted(table[column].dropna().unique()) if column in table else []
        if len(values) > 1:
            palette = [COLOURS[one] for one in ("fp16", "nf4", "int8", "fp4", "bf16", "fp32")]
            return _Colours(column, {value: palette[place % len(palette)] for place, value in enumerate(values)})
    return _Colours("precision", COLOURS)


def _draw_points(axes, rows: pd.DataFrame, colours: _Colours) -> None:
    """Draw the markers of rows of one precision, with their intervals behind, and a ring around those on a frontier."""
    look = {"marker": MARKERS[rows["precision"].iloc[0]], "zorder": 3, **_POINT}
    values = [*colours.of]
    for value, some in rows.groupby(colours.column):
        colour = colours.of[value]
        if {"perplexity_low", "perplexity_high"} <= set(some):
            known = some.dropna(subset=["perplexity_low", "perplexity_high"])
            ends = known["perplexity_low"], known["perplexity_high"]
            axes.vlines(known["across"], *ends, color=colour, lw=1.1, alpha=0.35)
        # One configuration takes the same memory on two cards: the later ones are smaller, so that none hides another.
        size = _SIZES[min(values.index(value), len(_SIZES) - 1)] if colours.column != "precision" else 6.5
        axes.plot(some["across"], some["perplexity"], color=colour, ms=size, **look)
        best = some[some["pareto"].eq(True)]
        ring = (size * 1.42 + 2) ** 2
        axes.scatter(best["across"], best["perplexity"], fc="none", ec=INK, marker="o", s=ring, lw=1.1, zorder=2)


def _join_seeds(axes, table: pd.DataFrame, colours: _Colours) -> list[tuple]:
    """Join each configuration's seeds with a line; return the labels of those to be named, for `label_points`."""
    parts = [rows.sort_values("across") for _, rows in table.groupby(axes_of(table), dropna=False)]
    labels = []
    for rows in parts:
        first = rows.iloc[0]
        axes.plot(rows["across"], rows["perplexity"], color=colours.of[first[colours.column]], lw=0.9, zorder=1)
        if len(parts) <= _NAMED or (pd.notna(first["pareto"]) and first["pareto"]):
            bare = {key: value for key, value in first.items() if key != "on"}
            labels.append((rows[["across", "perplexity"]].to_numpy()[::-1], name(Configuration.of_row(bare))))
    return labels


def _keys(table: pd.DataFrame, colours: _Colours) -> list[Line2D]:
    """Return the legend's entries: each colour, each precision's marker, the ring."""
    keys = []
    if colours.column != "precision":
        present = set(table[colours.column])
        keys = [
            Line2D([], [], marker="s", color=colour, label=value, ms=8, **_POINT)
            for value, colour in colours.of.items()
            if value in present
        ]
    for precision, _ in in_order(table):
        colour = MUTED if keys and colours.column != "precision" else COLOURS[precision]
        keys.append(Line2D([], [], marker=MARKERS[precision], color=colour, label=precision, ms=7, **_POINT))
    if table["pareto"].eq(True).any():
        keys.append(Line2D([], [], ls="none", marker="o", mfc="none", mec=INK, ms=10, label="on its card's frontier"))
    return keys
