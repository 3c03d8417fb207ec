"""Labels beside points and lines, placed so that they cover nothing."""

import math
from itertools import pairwise, product

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.transforms import Bbox

from frontier.results.figures.canvas import BUDGET, INK, SURFACE, note

_PLACES = [(8, 0), (-8, 0), (0, 8), (0, -8), (7, 6), (7, -6), (-7, 6), (-7, -6)]


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


def _covered(box: Bbox, others: list[Bbox]) -> float:
    return sum(map(_area, filter(None, (Bbox.intersection(box, other) for other in others))))


def _area(box: Bbox) -> float:
    return box.width * box.height
