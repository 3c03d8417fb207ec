"""Tell what a chart shows where, in pixels, so that labels can be put where they cover nothing."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.transforms import Bbox


@dataclass(frozen=True)
class Ground:
    """What a label can be put on, in pixels: the chart's inside, what must not be covered, and the intervals' lines."""

    inside: Bbox
    taken: list[Bbox]
    intervals: list[Bbox]

    def cost(self, box: Bbox, distance: int) -> float:
        """Return how bad a place a label's box is: what it covers, how far it is from its point; 0 is the best."""
        outside = not (self.inside.contains(box.x0, box.y0) and self.inside.contains(box.x1, box.y1))
        # A thin line behind a text is better than a text that is far from its point, and than covering a point.
        covered = 100 * (_covered(box, self.taken) + outside * _area(box)) + _covered(box, self.intervals)
        return covered + 0.2 * (distance - 1) * _area(box)


def drawn(axes) -> tuple[list[Bbox], list[Bbox]]:
    """Return the boxes, in pixels, of what the axes show of runs (markers, rings and lines), and of the intervals."""
    point = axes.figure.dpi / 72
    boxes, intervals = [], []
    window = axes.get_window_extent()
    for line in axes.lines:
        places = line.get_transform().transform(line.get_xydata())
        if line.get_marker() not in ("None", "none", "", None):
            reach = point * (line.get_markersize() / 2 + 1)
            boxes += [Bbox([place - reach, place + reach]) for place in places]
        if line.get_linestyle() not in ("None", "none", "", " "):
            boxes += [box.padded(point) for box in _along(places, 12 * point, window)]
    for part in axes.collections:
        if isinstance(part, LineCollection):
            intervals += [Bbox(axes.transData.transform(segment)).padded(point) for segment in part.get_segments()]
            continue
        for place, area in zip(axes.transData.transform(part.get_offsets()), part.get_sizes(), strict=False):
            reach = point * (area**0.5 / 2 + 1)
            boxes.append(Bbox([place - reach, place + reach]))
    return boxes, intervals


def _along(places: np.ndarray, length: float, window: Bbox) -> list[Bbox]:
    """Return boxes of at most `length` a side that cover, inside the window, the lines from each place to the next."""
    boxes = []
    for start, end in pairwise(places):
        inside = _clipped(start, end, window)
        if inside is not None:
            parts = max(1, math.ceil(np.abs(inside[1] - inside[0]).max() / length))
            boxes += [Bbox(np.sort(ends, axis=0)) for ends in pairwise(np.linspace(*inside, parts + 1))]
    return boxes


def _clipped(start: np.ndarray, end: np.ndarray, window: Bbox) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the ends of what of a line from one place to another is inside the window; None where nothing is.

    A line may leave it by more pixels than there is memory for boxes along it.
    """
    way = end - start
    with np.errstate(divide="ignore", invalid="ignore"):
        reached = np.sort([(window.min - start) / way, (window.max - start) / way], axis=0)
    still = way == 0
    outside = (still & ((start < window.min) | (start > window.max))).any()
    first, last = np.where(still, 0, reached[0]).max(initial=0), np.where(still, 1, reached[1]).min(initial=1)
    if outside or not first <= last:
        return None
    return start + first * way, start + last * way


def _covered(box: Bbox, others: list[Bbox]) -> float:
    """Return the area of a box that the others cover, counted anew for each of them."""
    return sum(map(_area, filter(None, (Bbox.intersection(box, other) for other in others))))


def _area(box: Bbox) -> float:
    return box.width * box.height
