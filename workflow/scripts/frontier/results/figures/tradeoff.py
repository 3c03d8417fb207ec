"""The trade-off drawn: memory against time, perplexity against time and rank, and how the loss fell."""

from dataclasses import replace

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D

from frontier.results.figures.canvas import (
    COLOURS,
    INK,
    MARKERS,
    METRICS,
    MUTED,
    SURFACE,
    WIDE,
    Drawn,
    canvas,
    device_keys,
    fills,
    in_order,
    legend,
    log_if_wide,
    note,
    nothing,
    time_unit,
)
from frontier.results.figures.labels import draw_limit, label_ends, label_points

_LOWER_IS_BETTER = "Validation perplexity (lower is better)"


def memory_time(results: Drawn, size=WIDE) -> plt.Figure:
    """What a run costs: its peak memory, or what it would have needed at least, over its training time."""
    metrics = results.table["memory_metric"].dropna().unique()
    label = METRICS[metrics[0]] if len(metrics) == 1 else "Peak memory (GiB)"
    if "needs_gib" in results.table:
        known = results.table["peak_memory_gib"].fillna(results.table["needs_gib"])
        results = replace(results, table=results.table.assign(peak_memory_gib=known))
    return _scatter(results, "peak_memory_gib", label, size, results.budget.get("memory_gib"))


def perplexity_time(results: Drawn, size=WIDE) -> plt.Figure:
    """What time buys: perplexity, with its 95% interval, over training time."""
    return _scatter(results, "perplexity", _LOWER_IS_BETTER, size)


def perplexity_rank(results: Drawn, size=WIDE) -> plt.Figure:
    """What rank buys: perplexity, with its 95% interval, over rank, and each base's before any training."""
    figure, axes = canvas(size)
    table = results.table
    measured = table.dropna(subset=["perplexity"])
    if measured.empty:
        nothing(axes, _none_has("perplexity", table))
        return figure
    ranks = sorted(table["rank"].unique())
    # Side by side, so that no interval or cross hides another.
    names = [name for name, _ in in_order(table)]
    shifts = {name: 1.035 ** (position - (len(names) - 1) / 2) for position, name in enumerate(names)}
    table = table.assign(place=table["rank"] * table["precision"].map(shifts))
    ends = []
    for precision, rows in in_order(table.loc[measured.index]):
        mean = rows.groupby("place")["perplexity"].mean()
        axes.plot(mean.index, mean, color=COLOURS[precision], lw=1.8)
        _points(axes, rows, "place", "perplexity", precision, fills(table))
        ends.append((mean.iloc[-1], precision, INK))
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(rank) for rank in ranks])
    axes.minorticks_off()
    axes.set_xlim(ranks[0] / 1.25, ranks[-1] * 1.25)
    axes.set(xlabel="LoRA rank", ylabel=_LOWER_IS_BETTER)
    axes.margins(y=0.1)
    _warn_of_unlike(axes, table)
    ends += _draw_bases(axes, measured.groupby("precision")["base_perplexity"].first().dropna())
    label_points(axes, _mark_unfinished(axes, table, "place", "perplexity", "{status}"))
    label_ends(axes, ends)
    legend(figure, _keys(table), 4 if size[0] > 5 else 2)
    return figure


def _warn_of_unlike(axes, table: pd.DataFrame) -> None:
    """Say on the chart itself that its runs were not made alike."""
    if "notes" in table and table["notes"].notna().any():
        count = table["notes"].notna().sum()
        note(axes, f"{count} of {len(table)} runs on another machine or other versions (notes)", COLOURS["nf4"])


def _scatter(results: Drawn, column: str, label: str, size, memory_budget: float | None = None) -> plt.Figure:
    """Each run as a point over its training time, a configuration's seeds joined and named by its rank; the limits."""
    table = results.table
    measured = table.dropna(subset=["train_seconds", column])
    figure, axes = canvas(size)
    if measured.empty:
        nothing(axes, _none_has(f"{label.split(' (')[0].lower()} and a training time", table))
        return figure
    divisor, unit = time_unit(measured["train_seconds"])
    table = table.assign(time=table["train_seconds"] / divisor)
    measured = table.loc[measured.index]
    axes.margins(x=0.14, y=0.14)
    axes.plot(table["time"].fillna(measured["time"].max()), table[column], ls="none")
    finished = measured[measured["status"] == "ok"]
    for precision, rows in in_order(finished):
        _points(axes, rows, "time", column, precision, fills(table))
    axes.set(xlabel=f"Training time ({unit}, optimiser steps alone)", ylabel=label)
    _warn_of_unlike(axes, table)
    log_if_wide(axes.xaxis, measured["time"])
    log_if_wide(axes.yaxis, table[column])
    hours = results.budget.get("hours")
    draw_limit(axes.yaxis, memory_budget, f"memory budget {memory_budget} GiB")
    draw_limit(axes.xaxis, hours and hours * 3600 / divisor, f"time budget {hours} h")
    labels = _mark_unfinished(axes, table, "time", column, "r{ranks} {status}")
    alike = ["precision", "rank", *(["device"] if fills(table) else [])]
    for (precision, rank, *_), rows in finished.groupby(alike):
        rows = rows.sort_values("time")
        axes.plot(rows["time"], rows[column], color=COLOURS[precision], lw=0.9, zorder=1)
        labels.append((rows[["time", column]].to_numpy()[::-1], f"r{rank}"))
    label_points(axes, labels)
    legend(figure, _keys(table), 4 if size[0] > 5 else 2)
    return figure


def _draw_bases(axes, bases: pd.Series) -> list[tuple]:
    """Each base's own perplexity as a dashed line; a note instead where the lines would flatten what rank does."""
    low, high = axes.get_ylim()
    if bases.empty:
        return []
    if max(high, bases.max()) - min(low, bases.min()) > 2.5 * (high - low):
        listed = ", ".join(f"{precision} {base:.2f}" for precision, base in bases.items())
        note(axes, f"before training: {listed}")
        return []
    for precision, base in bases.items():
        axes.axhline(base, color=COLOURS[precision], ls=(0, (4, 3)), lw=1.2)
    return [(base, f"{precision} untrained", MUTED) for precision, base in bases.items()]


def _points(axes, rows: pd.DataFrame, x: str, y: str, precision: str, fills: dict) -> None:
    """Markers of one precision, filled by device, intervals behind them, a ring around those on the frontier."""
    colour = COLOURS[precision]
    if y == "perplexity" and {"perplexity_low", "perplexity_high"} <= set(rows):
        known = rows.dropna(subset=["perplexity_low", "perplexity_high"])
        axes.vlines(known[x], known["perplexity_low"], known["perplexity_high"], color=colour, lw=1.3, alpha=0.65)
    look = {"ls": "none", "marker": MARKERS[precision], "ms": 6.5, "zorder": 3}
    for fill in sorted(set(fills.values())):
        some = rows[rows["device"].map(fills).eq(fill)]
        axes.plot(some[x], some[y], color=colour, markerfacecoloralt=SURFACE, fillstyle=fill, **look)
    if not fills:
        axes.plot(rows[x], rows[y], color=colour, mec=SURFACE, mew=0.8, **look)
    if "pareto" in rows:
        best = rows[rows["pareto"].eq(True)]
        axes.scatter(best[x], best[y], fc="none", ec=INK, marker="o", s=130, lw=1.1, zorder=2)


def _mark_unfinished(axes, table: pd.DataFrame, x: str, y: str, text: str) -> list[tuple]:
    """A cross for each run that did not end ok, at its values, or beyond the data for one it never had.

    Returns the crosses' labels as `label_points` takes them, one for those of one precision and status at one place.
    """
    unfinished = table[table["status"] != "ok"]
    if unfinished[x].isna().any():
        _widen(axes.xaxis)
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    across, up = unfinished[x].fillna(axes.get_xlim()[1]), unfinished[y].fillna(axes.get_ylim()[1])
    look = {"marker": "X", "ms": 8, "mec": SURFACE, "mew": 0.8, "clip_on": False, "zorder": 4}
    for index, precision in unfinished["precision"].items():
        axes.plot(across[index], up[index], color=COLOURS[precision], **look)
    status = unfinished["status"].str.replace("_", " ")
    if "basis" in unfinished:
        status = status.where(unfinished["basis"] != "predicted", status + ", predicted")
    labels = {}
    for (left, height, _, words), rows in unfinished.groupby([across, up, "precision", status]):
        ranks = ", ".join(map(str, sorted(rows["rank"].unique())))
        labels.setdefault(text.format(ranks=ranks, status=words), (left, height))
    return [([place], label) for label, place in labels.items()]


def _widen(axis) -> None:
    """Room beyond the data for what has no value on this axis."""
    low, high = axis.get_view_interval()
    axis.set_view_interval(
        low, high * (high / low) ** 0.12 if axis.get_scale() == "log" else high + 0.12 * (high - low)
    )


def _keys(table: pd.DataFrame) -> list[Line2D]:
    """What the legend explains: each precision's marker, the ring and the cross where there are any."""
    look = {"ls": "none", "mec": SURFACE, "mew": 0.8}
    keys = [
        Line2D([], [], marker=MARKERS[name], color=COLOURS[name], ms=7, label=name, **look)
        for name, _ in in_order(table)
    ]
    keys += device_keys(table)
    if "pareto" in table and table["pareto"].eq(True).any():
        keys.append(Line2D([], [], ls="none", marker="o", mfc="none", mec=INK, ms=10, label="on the frontier"))
    if (table["status"] != "ok").any():
        keys.append(Line2D([], [], marker="X", color=MUTED, ms=8, label="did not end ok", **look))
    return keys


def _none_has(what: str, table: pd.DataFrame) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in table["status"].value_counts().items())
    return f"No run has a {what}\n({counts or 'no runs'})"
