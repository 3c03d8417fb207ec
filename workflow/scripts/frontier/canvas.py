"""What every figure shares: colours, sizes, units, labels that keep out of each other's way."""

import math
from dataclasses import dataclass, field
from itertools import pairwise, product

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter
from matplotlib.transforms import Bbox

# Okabe and Ito's palette, told apart with every common kind of colour blindness; bf16's blue and int8's green darker.
COLOURS = {
    "fp32": "#333333",
    "bf16": "#3a9bd9",
    "fp16": "#0072b2",
    "nf4": "#d55e00",
    "fp4": "#cc79a7",
    "int8": "#009e73",
}
MARKERS = {"fp32": "s", "bf16": "^", "fp16": "o", "nf4": "D", "fp4": "v", "int8": "P"}
INK, MUTED, GRID, SURFACE, BUDGET = "#1f2328", "#57606a", "#d8dee4", "#fffffe", "#8a6d00"
METRICS = {"cuda_allocated": "Peak GPU memory allocated (GiB)", "host_rss": "Peak resident memory (GiB)"}
WIDE, NARROW = (6.4, 4.4), (4.4, 4.4)
STYLE = {
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.solid_capstyle": "round",
    "svg.hashsalt": "lora-frontier",
    "svg.fonttype": "path",
}
_PLACES = [(8, 0), (-8, 0), (0, 8), (0, -8), (7, 6), (7, -6), (-7, 6), (-7, -6)]


# How much of a marker is filled tells devices apart, where a table has several.
FILLS = ("full", "none", "left", "bottom", "right", "top")


@dataclass(frozen=True)
class Results:
    """What figures are drawn from: the summary, each run's loss history by its name, and the budget.

    A budget has `memory_gib` and `hours`, each None where the user set none.
    """

    table: pd.DataFrame
    histories: dict[str, pd.DataFrame] = field(default_factory=dict)
    budget: dict = field(default_factory=dict)


def in_order(table: pd.DataFrame):
    """The table's rows by precision, in the palette's order."""
    return [(name, table[table["precision"] == name]) for name in COLOURS if (table["precision"] == name).any()]


def fills(table: pd.DataFrame) -> dict[str, str]:
    """Each device of the table with the fill of its markers; a table of one device needs none."""
    devices = sorted(table["device"].dropna().unique()) if "device" in table else []
    return {name: FILLS[index % len(FILLS)] for index, name in enumerate(devices)} if len(devices) > 1 else {}


def device_keys(table: pd.DataFrame) -> list[Line2D]:
    """What a legend says of the devices, where there are several."""
    look = {"ls": "none", "marker": "o", "color": MUTED, "markerfacecoloralt": SURFACE, "ms": 7}
    return [Line2D([], [], fillstyle=fill, label=name, **look) for name, fill in fills(table).items()]


def time_unit(seconds: pd.Series) -> tuple[float, str]:
    """The divisor and name of the unit in which the longest of the times is easy to read."""
    longest = seconds.max()
    for divisor, name in ((3600, "hours"), (60, "minutes")):
        if longest >= 2 * divisor:
            return divisor, name
    return 1, "seconds"


def nothing(axes, text: str) -> None:
    """Say in the middle of empty axes why they are empty."""
    axes.text(0.5, 0.5, text, ha="center", va="center", color=MUTED, transform=axes.transAxes)
    axes.set_axis_off()


def log_if_wide(axis, values: pd.Series) -> None:
    """A logarithmic axis, with plain numbers on it, for values that span more than a factor of ten."""
    if values.min() > 0 and values.max() / values.min() > 10:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter())


def draw_limit(axis, limit: float | None, text: str) -> None:
    """A budget as a dashed line, or as a note over the chart where the line would crush the data to fit in."""
    if limit is None:
        return
    axes, vertical = axis.axes, axis.axis_name == "x"
    low, high = axis.get_view_interval()
    logarithmic = axis.get_scale() == "log"
    reach = (low / 5, high * 5) if logarithmic else (low - 1.5 * (high - low), high + 1.5 * (high - low))
    if not reach[0] <= limit <= reach[1]:
        beyond = ("right of" if vertical else "above") if limit > high else ("left of" if vertical else "below")
        note(axes, f"{text}: {beyond} this chart", BUDGET)
        return
    draw = axes.axvline if vertical else axes.axhline
    draw(limit, color=BUDGET, lw=1.4, ls=(0, (5, 3)), zorder=1)
    room = (1.15, 1 / 1.15) if logarithmic else (0.08 * (high - low), -0.08 * (high - low))
    ends = [limit * side if logarithmic else limit + side for side in room]
    axis.set_view_interval(min(low, ends[1]), max(high, ends[0]), ignore=True)
    box = {"boxstyle": "square,pad=0.15", "fc": SURFACE, "ec": "none"}
    at = {"xy": (limit, 0.2), "xytext": (0, 0), "xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
    if not vertical:
        at |= {"xy": (0.99, limit), "xycoords": ("axes fraction", "data"), "ha": "right", "va": "center"}
    axes.annotate(
        text, textcoords="offset points", rotation=90 * vertical, color=BUDGET, fontsize=9, bbox=box, zorder=1.5, **at
    )


def note(axes, text: str, colour: str = MUTED) -> None:
    """Add a line to the notes over the chart's right end."""
    above = axes.get_title(loc="right")
    axes.set_title(f"{above}\n{text}" if above else text, loc="right", fontsize=9, weight="normal", color=colour)


def label_points(axes, labels: list[tuple]) -> None:
    """Put each text beside one of its points, where it covers least and is near: (points (x, y), text).

    Of equal places the first is taken, in the order of the points.
    """
    figure = axes.figure
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    point = figure.dpi / 72
    markers, intervals = _drawn(axes)
    taken = [note.get_window_extent(renderer) for note in axes.texts] + markers
    inside = axes.get_window_extent(renderer).padded(5 * point)
    for points, text in labels:
        best = None
        for distance, (x, y), (dx, dy) in product((1, 2, 3), points, _PLACES):
            note = axes.annotate(
                text, (x, y), (dx * distance, dy * distance), textcoords="offset points", color=INK, fontsize=9.5,
                ha="left" if dx > 0 else "right" if dx < 0 else "center",
                va="bottom" if dy > 0 else "top" if dy < 0 else "center_baseline",
            )  # fmt: skip
            box = note.get_window_extent(renderer).padded(point)
            outside = not (inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1))
            # A thin line behind a text is better than a text that is far from its point, and than covering a point.
            cost = 10 * (_covered(box, taken) + outside * _area(box)) + _covered(box, intervals)
            cost += 0.2 * (distance - 1) * _area(box)
            if best is None or cost < best[0]:
                if best:
                    best[1].remove()
                best = (cost, note, box)
            else:
                note.remove()
            if not cost:
                break
        taken.append(best[2])


def _drawn(axes) -> tuple[list[Bbox], list[Bbox]]:
    """The boxes, in pixels, of what the axes show of runs: markers, their rings and lines; and of the intervals."""
    point = axes.figure.dpi / 72
    boxes, intervals = [], []
    for line in axes.lines:
        places = line.get_transform().transform(line.get_xydata())
        if line.get_marker() not in ("None", "none", "", None):
            reach = point * (line.get_markersize() / 2 + 1)
            boxes += [Bbox([place - reach, place + reach]) for place in places]
        if line.get_linestyle() not in ("None", "none", "", " "):
            boxes += [box.padded(point) for box in _along(places, 12 * point)]
    for drawn in axes.collections:
        if isinstance(drawn, LineCollection):
            intervals += [Bbox(axes.transData.transform(segment)).padded(point) for segment in drawn.get_segments()]
            continue
        for place, area in zip(axes.transData.transform(drawn.get_offsets()), drawn.get_sizes(), strict=False):
            reach = point * (area**0.5 / 2 + 1)
            boxes.append(Bbox([place - reach, place + reach]))
    return boxes, intervals


def _along(places: np.ndarray, length: float) -> list[Bbox]:
    """Boxes of at most `length` a side that cover the lines from each of the places (x, y) to the next."""
    boxes = []
    for start, end in pairwise(places):
        parts = max(1, math.ceil(np.abs(end - start).max() / length))
        boxes += [Bbox(np.sort(ends, axis=0)) for ends in pairwise(np.linspace(start, end, parts + 1))]
    return boxes


def label_ends(axes, ends: list[tuple]) -> None:
    """Name lines at their right end, given as (y, text, colour), pushed apart where they would overlap."""
    axes.figure.canvas.draw()
    scale, dpi = axes.transData, axes.figure.dpi
    right = axes.get_xlim()[1]
    placed = -float("inf")
    for value, text, colour in sorted(ends):
        y = scale.transform((right, value))[1]
        placed = max(y, placed + dpi / 72 * 13)
        axes.annotate(
            text, (1, value), (6, (placed - y) / dpi * 72), xycoords=("axes fraction", "data"),
            textcoords="offset points", color=colour, va="center", fontsize=9.5, annotation_clip=False,
        )  # fmt: skip


def legend(figure, handles: list, columns: int) -> None:
    """One legend above the axes, so that it never covers a point."""
    if handles:
        figure.legend(
            handles=handles, loc="outside upper left", ncols=columns, handletextpad=0.4, columnspacing=1.4,
            borderaxespad=0.2,
        )  # fmt: skip


def canvas(size: tuple[float, float], panels: int = 1):
    """A figure of `size` inches and its panels side by side, which share the vertical axis."""
    return plt.subplots(1, panels, figsize=size, layout="constrained", sharey=True)


def _covered(box: Bbox, others: list[Bbox]) -> float:
    return sum(map(_area, filter(None, (Bbox.intersection(box, other) for other in others))))


def _area(box: Bbox) -> float:
    return box.width * box.height
