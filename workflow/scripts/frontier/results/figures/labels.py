"""Put labels beside points and lines, placed so that they cover nothing."""

import math
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.transforms import Bbox

from frontier.results.figures.canvas import BUDGET, INK, SURFACE, note

# Where a label may stand, in points right of its point and above it.
_PLACES = [(8, 0), (-8, 0), (0, 8), (0, -8), (7, 6), (7, -6), (-7, 6), (-7, -6)]
# How often as far off as _PLACES says a label may stand.
_DISTANCES = (1, 2, 3)


def draw_limit(axis, limit: float | None, text: str) -> None:
    """Draw a budget as a dashed line, or as a note over the chart where the line would crush the data to fit in."""
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


@dataclass(frozen=True)
class _Ground:
    """What a label can be put on, in pixels: the chart's inside, what must not be covered, and the intervals' lines."""

    inside: Bbox
    taken: list[Bbox]
    intervals: list[Bbox]

    def cost(self, box: Bbox, distance: int) -> float:
        """Return how bad a place a label's box is: what it covers, how far it is from its point; 0 is the best."""
        outside = not (self.inside.contains(box.x0, box.y0) and self.inside.contains(box.x1, box.y1))
        # A thin line behind a text is better than a text that is far from its point, and than covering a point.
        covered = 10 * (_covered(box, self.taken) + outside * _area(box)) + _covered(box, self.intervals)
        return covered + 0.2 * (distance - 1) * _area(box)


def label_points(axes, labels: list[tuple]) -> None:
    """Put each text beside one of its points, where it covers least and is near: (points (x, y), text).

    Of equal places the first is taken, in the order of the points.
    """
    figure = axes.figure
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    markers, intervals = _drawn(axes)
    inside = axes.get_window_extent(renderer).padded(5 * figure.dpi / 72)
    ground = _Ground(inside, [text.get_window_extent(renderer) for text in axes.texts] + markers, intervals)
    for points, text in labels:
        ground.taken.append(_label_one(axes, points, text, ground))


def _label_one(axes, points, text: str, ground: _Ground) -> Bbox:
    """Put a text beside one of the points, at the best place on the ground; return its box in pixels."""
    renderer, point = axes.figure.canvas.get_renderer(), axes.figure.dpi / 72
    best = None
    for distance, place, offset in product(_DISTANCES, points, _PLACES):
        label = _annotate(axes, text, place, offset, distance)
        box = label.get_window_extent(renderer).padded(point)
        cost = ground.cost(box, distance)
        if best is None or cost < best[0]:
            if best:
                best[1].remove()
            best = (cost, label, box)
        else:
            label.remove()
        if not cost:
            break
    return best[2]


def _annotate(axes, text: str, place: tuple, offset: tuple[int, int], distance: int):
    """Write a text beside a place, on the side of it that the offset tells."""
    right, above = offset
    return axes.annotate(
        text, tuple(place), (right * distance, above * distance), textcoords="offset points", color=INK, fontsize=9.5,
        ha="left" if right > 0 else "right" if right < 0 else "center",
        va="bottom" if above > 0 else "top" if above < 0 else "center_baseline",
    )  # fmt: skip


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


def _drawn(axes) -> tuple[list[Bbox], list[Bbox]]:
    """Return the boxes, in pixels, of what the axes show of runs (markers, rings and lines), and of the intervals."""
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
    """Return boxes of at most `length` a side that cover the lines from each of the places (x, y) to the next."""
    boxes = []
    for start, end in pairwise(places):
        parts = max(1, math.ceil(np.abs(end - start).max() / length))
        boxes += [Bbox(np.sort(ends, axis=0)) for ends in pairwise(np.linspace(start, end, parts + 1))]
    return boxes


def _covered(box: Bbox, others: list[Bbox]) -> float:
    """Return the area of a box that the others cover, counted anew for each of them."""
    return sum(map(_area, filter(None, (Bbox.intersection(box, other) for other in others))))


def _area(box: Bbox) -> float:
    return box.width * box.height
