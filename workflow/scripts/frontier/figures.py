"""The trade-off drawn: memory against time, perplexity against time, perplexity against rank."""

from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import NullFormatter, ScalarFormatter

# Okabe and Ito's palette, told apart with every common kind of colour blindness.
COLOURS = {
    "fp32": "#000000",
    "bf16": "#56B4E9",
    "fp16": "#0072B2",
    "nf4": "#D55E00",
    "fp4": "#CC79A7",
    "int8": "#009E73",
}
MARKERS = {"fp32": "s", "bf16": "^", "fp16": "o", "nf4": "D", "fp4": "v", "int8": "P"}
METRICS = {"cuda_allocated": "Peak GPU memory allocated (GiB)", "host_rss": "Peak resident memory (GiB)"}
_STYLE = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "svg.hashsalt": "lora-frontier",
    "svg.fonttype": "path",
}


def time_unit(seconds: pd.Series) -> tuple[float, str]:
    """The divisor and name of the unit in which the longest of the times is easy to read."""
    longest = seconds.max()
    for divisor, name in ((3600, "hours"), (60, "minutes")):
        if longest >= 2 * divisor:
            return divisor, name
    return 1, "seconds"


def memory_time(table: pd.DataFrame) -> plt.Figure:
    measured = table.dropna(subset=["train_seconds", "peak_memory_gib"])
    figure, axes = _canvas("What a run costs: memory against time")
    _scatter(axes, measured, "peak_memory_gib")
    metrics = measured["memory_metric"].unique()
    axes.set_ylabel(METRICS[metrics[0]] if len(metrics) == 1 else "Peak memory (GiB)")
    return figure


def perplexity_time(table: pd.DataFrame) -> plt.Figure:
    measured = table.dropna(subset=["train_seconds", "perplexity"])
    figure, axes = _canvas("What time buys: perplexity against time")
    _scatter(axes, measured, "perplexity")
    axes.set_ylabel("Validation perplexity (lower is better)")
    return figure


def perplexity_rank(table: pd.DataFrame) -> plt.Figure:
    measured = table.dropna(subset=["perplexity"])
    figure, axes = _canvas("What rank buys: perplexity against rank")
    ranks = sorted(measured["rank"].unique())
    if not ranks:
        return _nothing(figure, axes)
    ends = []
    for precision, rows in measured.groupby("precision"):
        colour = COLOURS[precision]
        mean = rows.groupby("rank")["perplexity"].mean()
        axes.plot(mean.index, mean, color=colour, lw=1.8)
        axes.scatter(rows["rank"], rows["perplexity"], color=colour, marker=MARKERS[precision], s=45, zorder=3)
        ends.append((mean.iloc[-1], precision, colour))
    for precision, base in measured.groupby("precision")["base_perplexity"].first().dropna().items():
        axes.axhline(base, color=COLOURS[precision], ls=(0, (4, 3)), lw=1.2)
        ends.append((base, f"{precision} base, untrained", COLOURS[precision]))
    if len(ranks) > 1:
        axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(rank) for rank in ranks])
    axes.minorticks_off()
    axes.set_xlabel("LoRA rank")
    axes.set_ylabel("Validation perplexity (lower is better)")
    values = pd.concat([measured["perplexity"], measured["base_perplexity"].dropna()])
    _log_if_wide(axes.yaxis, values)
    _label_ends(axes, ends)
    return figure


FIGURES = {"memory_time": memory_time, "perplexity_time": perplexity_time, "perplexity_rank": perplexity_rank}


def run(job: dict) -> None:
    """Draw every figure of the summary, as PNG and as SVG."""
    table = pd.read_csv(job["input"]["summary"])
    with plt.rc_context(_STYLE):
        for path in map(Path, job["output"].values()):
            figure = FIGURES[path.stem](table)
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(path, dpi=160, metadata=metadata)
            plt.close(figure)


def _canvas(title: str):
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    axes.set_title(title)
    return figure, axes


def _nothing(figure, axes):
    axes.text(0.5, 0.5, "no run has measured this", ha="center", transform=axes.transAxes)
    axes.set_axis_off()
    return figure


def _scatter(axes, measured: pd.DataFrame, column: str) -> None:
    """Each run as a point named by precision and rank, x its training time."""
    if measured.empty:
        _nothing(axes.figure, axes)
        return
    divisor, unit = time_unit(measured["train_seconds"])
    for precision, rows in measured.groupby("precision"):
        axes.scatter(
            rows["train_seconds"] / divisor, rows[column], color=COLOURS[precision], marker=MARKERS[precision], s=60
        )
    several = measured["seed"].nunique() > 1
    labels = [
        (row.train_seconds / divisor, getattr(row, column), f"{row.precision} r{row.rank}" + f" s{row.seed}" * several)
        for row in measured.itertuples()
    ]
    axes.set_xlabel(f"Training time ({unit}, optimiser steps alone)")
    _log_if_wide(axes.xaxis, measured["train_seconds"])
    _log_if_wide(axes.yaxis, measured[column])
    axes.margins(x=0.16, y=0.14)
    _label_points(axes, labels, [COLOURS[precision] for precision in measured["precision"]])


def _log_if_wide(axis, values: pd.Series) -> None:
    if values.min() > 0 and values.max() / values.min() > 10:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter())


def _label_points(axes, labels: list[tuple], colours: list[str]) -> None:
    """Put each label beside its point, at the first of eight places where it covers no point and no other label."""
    figure = axes.figure
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    points = [axes.transData.transform((x, y)) for x, y, _ in labels]
    reach = figure.dpi / 72 * 5
    taken = [matplotlib.transforms.Bbox.from_extents(x - reach, y - reach, x + reach, y + reach) for x, y in points]
    places = [(8, 0), (-8, 0), (0, 9), (0, -9), (7, 7), (7, -7), (-7, 7), (-7, -7)]
    places += [(dx * 2.4, dy * 2.4) for dx, dy in places]
    for (x, y, text), colour in zip(labels, colours, strict=True):
        for dx, dy in places:
            note = axes.annotate(
                text,
                (x, y),
                (dx, dy),
                textcoords="offset points",
                color=colour,
                fontsize=10,
                ha="left" if dx > 0 else "right" if dx < 0 else "center",
                va="bottom" if dy > 0 else "top" if dy < 0 else "center",
            )
            box = note.get_window_extent(renderer)
            if not any(box.overlaps(other) for other in taken) or (dx, dy) == places[-1]:
                taken.append(box)
                break
            note.remove()


def _label_ends(axes, ends: list[tuple]) -> None:
    """Label lines at their right end, pushed apart where they would overlap."""
    axes.figure.canvas.draw()
    scale = axes.transData
    height = axes.figure.dpi / 72 * 14
    right = axes.get_xlim()[1]
    placed = -float("inf")
    for value, text, colour in sorted(ends):
        y = scale.transform((right, value))[1]
        placed = max(y, placed + height)
        offset = (placed - y) / axes.figure.dpi * 72
        axes.annotate(
            text,
            (1, value),
            (6, offset),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=colour,
            va="center",
            annotation_clip=False,
        )
