"""Draw training curves: a panel an arm, its seeds alike, its best learning rate strongly and its others faintly."""

import math
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from frontier import axes as settings
from frontier.outcome_types import Status
from frontier.results.configurations import Configuration, configurations_of
from frontier.results.figures.bests import setting
from frontier.results.figures.canvas import (
    COLOURS,
    INK,
    MUTED,
    SURFACE,
    WIDE,
    Drawn,
    canvas,
    device_fills,
    device_keys,
    in_order,
    legend,
    nothing,
)

# More points than this are a haze rather than a line.
_POINTS = 60
# A panel is at least this wide and this high, in inches; a row has no more panels than _ACROSS.
_WIDTH, _HEIGHT, _ACROSS = 1.35, 1.35, 6
# Inches that the legend and the axis' label take.
_AROUND = 0.8
# How the curves of an arm's other rates look.
_OTHERS: dict[str, Any] = {"lw": 0.8, "alpha": 0.35, "zorder": 1.5}
# How the curve that all panels share looks: that of the best arm.
_SHARED: dict[str, Any] = {"color": INK, "lw": 0.9, "ls": (0, (1, 1.5)), "zorder": 3}

# How a panel's name looks.
_NAME: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": 9, "color": INK, "linespacing": 1.25}


def thin(history: pd.DataFrame) -> pd.DataFrame:
    """Return a long history as 60 points, each the mean of its stretch's losses at its end; a short one as it is.

    A stretch with a loss that is not finite has none, so that the curve has a gap there.
    """
    if len(history) <= _POINTS:
        return history
    stretch: np.ndarray = np.arange(len(history)) * _POINTS // len(history)
    return history.groupby(stretch).agg({"step": "last", "seconds": "last", "loss": _mean_of_all})


def _mean_of_all(losses: pd.Series) -> float:
    return losses.mean(skipna=False)


def training_curves(results: Drawn, size=WIDE) -> plt.Figure:
    """Draw the loss of each arm's runs against optimiser steps, in a panel of its own under its name and best rate.

    Colour is precision. Every panel has the best arm's curve too, dotted, so that arms can be set against one.
    """
    curves = {run: thin(one) for run, one in results.histories.items() if one["loss"].notna().any()}
    rows = results.table[results.table["run"].isin(list(curves))]
    if rows.empty:
        figure, axes = canvas(size)
        nothing(axes, "No run has a history")
        return figure
    rows = rows.assign(is_best=rows.index.isin(results.at_best.index))
    groups = _by_arm(rows)
    figure, panels = _panels(groups, size)
    best = next((one.arm for one in results.bests if one.is_reference), None)
    shared = curves[_at_best(groups[best])["run"].iloc[0]] if best in groups and len(groups) > 1 else None
    fills = device_fills(rows)
    for axes, (arm, some) in zip(panels, groups.items(), strict=False):
        for row in some.itertuples():
            _draw_run(axes, curves[row.run], row, fills)
        if shared is not None and arm != best:
            axes.plot(shared["step"], shared["loss"], **_SHARED)
        # A loss falls, so that this corner is the emptiest.
        axes.text(0.98, 0.97, _title(arm, _at_best(some), results), transform=axes.transAxes, **_NAME)
    _limit(panels, [curves[run] for run in _at_best(rows)["run"]])
    figure.supxlabel("Optimiser step", fontsize=10)
    figure.supylabel("Training loss (nats per answer token)", fontsize=10)
    legend(figure, _keys(rows, shared is not None), 6 if size[0] > WIDE[0] else 4 if size[0] > 5 else 2)
    return figure


def _by_arm(rows: pd.DataFrame) -> dict[Configuration, pd.DataFrame]:
    """Return the rows of each arm, by the palette's order of precisions, then by settings and rank."""
    places: dict[Configuration, list[int]] = {}
    for place, one in enumerate(configurations_of(rows)):
        places.setdefault(one.arm, []).append(place)
    order = [*COLOURS]
    arms = sorted(places, key=lambda arm: (order.index(arm.precision), arm.others, arm.rank))
    return {arm: rows.iloc[places[arm]] for arm in arms}


def _at_best(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows at the best rate, or all of them where none is."""
    return rows[rows["is_best"]] if rows["is_best"].any() else rows


def _panels(groups: dict[Configuration, pd.DataFrame], size: tuple[float, float]) -> tuple[plt.Figure, list]:
    """Return a figure, as high as its panels need, and its panels: a row for each precision and setting where it fits.

    The lowest panel of each column has the numbers of the steps.
    """
    most = max(1, min(_ACROSS, int(size[0] / _WIDTH), len(groups)))
    lines = [replace(arm, rank=1) for arm in groups]
    ranks = max(lines.count(line) for line in lines)
    across = next((count for count in range(most, 1, -1) if ranks % count == 0), most)
    down = math.ceil(len(groups) / across)
    height = max(size[1] if down > 1 else 0.75 * size[1], down * _HEIGHT + _AROUND)
    figure, grid = plt.subplots(
        down, across, figsize=(size[0], height), layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    for axes in grid.flat[len(groups) :]:
        axes.set_axis_off()
    for axes in grid.flat[max(len(groups) - across, 0) : len(groups)]:
        axes.tick_params(labelbottom=True)
    return figure, list(grid.flat[: len(groups)])


def _draw_run(axes, history: pd.DataFrame, row, fills: dict[str, str]) -> None:
    """Draw a run's loss, its device at its end where there are several, and a cross there if it did not end ok."""
    colour = COLOURS[row.precision]
    axes.plot(history["step"], history["loss"], color=colour, **({"lw": 1.4} if row.is_best else _OTHERS))
    last = history.dropna(subset=["loss"]).tail(1)
    if fills and row.is_best and row.device in fills:
        look = {"color": colour, "markerfacecoloralt": SURFACE, "fillstyle": fills[row.device]}
        axes.plot(last["step"], last["loss"], ms=5.5, marker="o", **look)
    if row.status != Status.OK:
        axes.plot(last["step"], last["loss"], marker="X", ms=8, color=colour, mec=SURFACE, zorder=4)


def _limit(panels: list, curves: list[pd.DataFrame]) -> None:
    """End the panels at what the best rates' curves do, so that others which went far off do not flatten them."""
    losses = pd.concat([one["loss"] for one in curves])
    losses = losses[np.isfinite(losses)]
    low, high = losses.min(), losses.max()
    room = 0.05 * (high - low) or 0.1
    panels[0].set_ylim(low - room, high + room)
    panels[0].xaxis.set_major_locator(MaxNLocator(3, integer=True))
    panels[0].yaxis.set_major_locator(MaxNLocator(4))


def _title(arm: Configuration, rows: pd.DataFrame, results: Drawn) -> str:
    """Return a panel's name: its arm, its settings, and the rate that is drawn strongly where several were tried."""
    rate = [f"at {settings.text(rows['learning_rate'].iloc[0])}"] if len(results.rates) > 1 else []
    return "\n".join(filter(None, [f"{arm.precision} r{arm.rank}", setting(arm), *rate]))


def _keys(rows: pd.DataFrame, has_shared: bool) -> list[Line2D]:
    """Return the legend's entries: precisions, other rates, the curve that panels share, devices, and the cross."""
    keys = [Line2D([], [], color=COLOURS[one], lw=2, label=one) for one, _ in in_order(rows)]
    if not rows["is_best"].all():
        keys.append(Line2D([], [], color=MUTED, label="other rates", **_OTHERS))
    if has_shared:
        keys.append(Line2D([], [], label="best of all", **_SHARED))
    keys += device_keys(rows)
    if (rows["status"] != Status.OK).any():
        keys.append(Line2D([], [], marker="X", color=MUTED, ls="none", ms=8, mec=SURFACE, label="did not end ok"))
    return keys
