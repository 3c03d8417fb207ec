"""Draw training curves: every run's loss against its steps and against its time."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from frontier.outcome_types import Status
from frontier.results.configurations import Configuration, configurations_of
from frontier.results.figures.bests import name
from frontier.results.figures.canvas import (
    COLOURS,
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
    time_unit,
)
from frontier.results.figures.looks import DASHES, Looks
from frontier.results.figures.notes import tell_rates

# More points than this are a haze rather than a line.
_POINTS = 60


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
    """Draw the loss of each arm's runs at its best rate against optimiser steps and against time.

    Colour is precision, dashes are rank and further settings; where those are more than there are kinds of dashes,
    dashes are settings and the strength of a line is its rank.
    """
    figure, (by_step, by_time) = canvas(size, panels=2)
    table = results.at_best
    drawn = {run: history for run, history in results.histories.items() if history["loss"].notna().any()}
    rows = table[table["run"].isin(list(drawn))]
    if rows.empty:
        for axes in (by_step, by_time):
            nothing(axes, "No run has a history")
        return figure
    divisor, unit = time_unit(pd.concat([drawn[run]["seconds"] for run in rows["run"]]))
    styles = _styles(configurations_of(rows))
    filled = device_fills(rows)
    for row, one in zip(rows.itertuples(), configurations_of(rows), strict=True):
        history = thin(drawn[row.run])
        history = history.assign(time=history["seconds"] / divisor)
        for axes, column in ((by_step, "step"), (by_time, "time")):
            _draw_curve(axes, history[column], history["loss"], row, styles[name(one)])
        fill = filled.get(getattr(row, "device", None))
        if fill:
            look = {"marker": "o", "color": COLOURS[row.precision], "markerfacecoloralt": SURFACE, "fillstyle": fill}
            last = history.dropna(subset=["loss"]).tail(1)
            by_time.plot(last["time"], last["loss"], ms=5.5, **look)
    by_step.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    by_time.xaxis.set_major_locator(MaxNLocator(5))
    tell_rates(by_time, results)
    by_step.set(xlabel="Optimiser step", ylabel="Training loss (nats per answer token)")
    by_time.set(xlabel=f"Time ({unit})")
    columns = 6 if size[0] > 5 else 3
    # A device's name is longer than a rank's.
    legend(figure, _keys(rows, styles), columns // 2 if filled else columns)
    return figure


def _styles(arms: list[Configuration]) -> dict[str, dict]:
    """Return the dashes and the strength of each arm's line, by its name."""
    looks, arms = Looks.of(arms), sorted(arms, key=lambda one: (one.rank, one.others))
    names = list(dict.fromkeys(map(name, arms)))
    if len(names) <= len(DASHES):
        return {one: {"ls": dash, "alpha": 0.85} for one, dash in zip(names, DASHES, strict=False)}
    return {name(one): {"ls": looks.line(one)["ls"], "alpha": looks.strength(one)} for one in arms}


def _draw_curve(axes, x: pd.Series, loss: pd.Series, row, style: dict) -> None:
    """Draw one run's loss, with a cross at the end of a run that did not end ok."""
    axes.plot(x, loss, color=COLOURS[row.precision], lw=1.4, **style)
    if row.status != Status.OK:
        last = loss.dropna().tail(1)
        axes.plot(x[last.index], last, marker="X", ms=8, color=COLOURS[row.precision], mec=SURFACE, zorder=4)


def _keys(rows: pd.DataFrame, styles: dict[str, dict]) -> list[Line2D]:
    """Return the legend's entries: each precision's colour, each arm's dashes, each device's fill, and the cross."""
    keys = [Line2D([], [], color=COLOURS[one], lw=2, label=one) for one, _ in in_order(rows)]
    keys += [Line2D([], [], color=MUTED, lw=1.3, label=named, **style) for named, style in styles.items()]
    keys += device_keys(rows)
    if (rows["status"] != Status.OK).any():
        keys.append(Line2D([], [], marker="X", color=MUTED, ls="none", ms=8, mec=SURFACE, label="did not end ok"))
    return keys
