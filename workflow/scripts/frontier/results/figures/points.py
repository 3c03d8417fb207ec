"""Draw runs as points: their markers, their intervals, the crosses of those that did not end ok, and the legend."""

from typing import Any

import pandas as pd
from matplotlib.lines import Line2D

from frontier.outcome_types import Status
from frontier.results.configurations import Configuration, configurations_of
from frontier.results.figures.bests import setting
from frontier.results.figures.canvas import COLOURS, INK, MARKERS, MUTED, SURFACE, device_keys, in_order
from frontier.results.figures.looks import GAP, STAR
from frontier.results.figures.standing import Point

# The look of the crosses that stand for runs that did not end ok.
CROSS: dict[str, Any] = {"marker": "X", "ms": 8, "mec": SURFACE, "mew": 0.8}


def draw_points(axes, rows: pd.DataFrame, x: str, y: str, fill_of: dict[str, str]) -> None:
    """Draw markers for rows of one precision, with their intervals behind, and a ring around those on the frontier.

    `x` and `y` are columns; `fill_of` has each device's fill, where there are several devices.
    """
    precision = rows["precision"].iloc[0]
    colour = COLOURS[precision]
    if y == "perplexity" and {"perplexity_low", "perplexity_high"} <= set(rows):
        known = rows.dropna(subset=["perplexity_low", "perplexity_high"])
        axes.vlines(known[x], known["perplexity_low"], known["perplexity_high"], color=colour, lw=1.3, alpha=0.65)
    look: dict[str, Any] = {"ls": "none", "marker": MARKERS[precision], "ms": 6.5, "zorder": 3}
    for fill in sorted(set(fill_of.values())):
        some = rows[rows["device"].map(fill_of).eq(fill)]
        axes.plot(some[x], some[y], color=colour, markerfacecoloralt=SURFACE, fillstyle=fill, **look)
    if not fill_of:
        axes.plot(rows[x], rows[y], color=colour, mec=SURFACE, mew=0.8, **look)
    if "pareto" in rows:
        best = rows[rows["pareto"].eq(True)]
        axes.scatter(best[x], best[y], fc="none", ec=INK, marker="o", s=130, lw=1.1, zorder=2)


def mark_unfinished(axes, table: pd.DataFrame, x: str, y: str, text: str) -> list[tuple]:
    """Draw a cross for each run that did not end ok, at its values, or beyond the data for one it never had.

    Returns the crosses' labels as `label_points` takes them, one for those of one precision and status at one place:
    `text` with their `arms` and `status` filled in.
    """
    unfinished = table[table["status"] != Status.OK]
    if unfinished[x].isna().any():
        _widen(axes.xaxis)
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    across, up = unfinished[x].fillna(axes.get_xlim()[1]), unfinished[y].fillna(axes.get_ylim()[1])
    for index, precision in unfinished["precision"].items():
        axes.plot(across[index], up[index], color=COLOURS[precision], clip_on=False, zorder=4, **CROSS)
    status = unfinished["status"].str.replace("_", " ")
    if "basis" in unfinished:
        status = status.where(unfinished["basis"] != "predicted", status + ", predicted")
    labels: dict[str, tuple[float, float]] = {}
    for (left, height, _, words), rows in unfinished.groupby([across, up, "precision", status]):
        labels.setdefault(text.format(arms=_names(rows), status=words), (left, height))
    return [([place], label) for label, place in labels.items()]


def _names(rows: pd.DataFrame) -> str:
    """Return the names of rows' arms, the ranks of each setting together: r8, 16, alpha 2r; r8, alpha 16."""
    ranks: dict[tuple, dict[int, Configuration]] = {}
    for one in sorted(configurations_of(rows)):
        ranks.setdefault(one.others, {})[one.rank] = one
    return "; ".join(
        ", ".join(filter(None, (f"r{', '.join(map(str, some))}", setting(next(iter(some.values()))))))
        for some in ranks.values()
    )


def stand_keys(table: pd.DataFrame, stands: list[Point], is_joined: bool) -> list[Line2D]:
    """Return the legend's entries of a trade-off: precisions, devices, frontier, recommended one, bars, cross."""
    look: dict[str, Any] = {"ls": "none", "mec": SURFACE, "mew": 0.8, "ms": 7}
    keys = [
        Line2D([], [], marker=MARKERS[name], color=COLOURS[name], label=name, **look) for name, _ in in_order(table)
    ]
    keys += device_keys(table)
    if any(one.on_frontier for one in stands):
        look = {"ls": "-" if is_joined else "none", "lw": 1.2, "color": INK}
        keys.append(Line2D([], [], marker="o", mfc=SURFACE, mec=INK, ms=10, label="on the frontier", **look))
    if any(one.is_recommended for one in stands):
        keys.append(Line2D([], [], **STAR | {"ms": 13}, label="recommended"))
    if any(one.best.bar for one in stands):
        keys.append(Line2D([], [], ls="none", marker="|", mew=1.6, ms=12, color=MUTED, label=GAP))
    if any(one.spread[0] < one.spread[1] for one in stands):
        keys.append(Line2D([], [], ls="none", marker="_", mew=1.6, ms=12, color=MUTED, label="lowest to highest seed"))
    return keys + cross_keys(table)


def point_keys(table: pd.DataFrame) -> list[Line2D]:
    """Return the legend's entries: each precision's marker, each device's fill, the ring, the cross."""
    look: dict[str, Any] = {"ls": "none", "mec": SURFACE, "mew": 0.8, "ms": 7}
    keys = [
        Line2D([], [], marker=MARKERS[name], color=COLOURS[name], label=name, **look) for name, _ in in_order(table)
    ]
    keys += device_keys(table)
    if "pareto" in table and table["pareto"].eq(True).any():
        keys.append(Line2D([], [], ls="none", marker="o", mfc="none", mec=INK, ms=10, label="on the frontier"))
    return keys + cross_keys(table)


def cross_keys(table: pd.DataFrame) -> list[Line2D]:
    """Return the legend's entry of the crosses, where there are any."""
    look: dict[str, Any] = {"ls": "none", "color": MUTED} | CROSS
    return [Line2D([], [], label="did not end ok", **look)] if (table["status"] != Status.OK).any() else []


def none_has(what: str, table: pd.DataFrame) -> str:
    """Return that no run has something, with how the runs ended instead, as a chart without points says it."""
    counts = ", ".join(f"{count} {status}" for status, count in table["status"].value_counts().items())
    return f"No run has a {what}\n({counts or 'no runs'})"


def _widen(axis) -> None:
    """Make room beyond the data for what has no value on this axis."""
    low, high = axis.get_view_interval()
    wider = high * (high / low) ** 0.12 if axis.get_scale() == "log" else high + 0.12 * (high - low)
    axis.set_view_interval(low, wider)
