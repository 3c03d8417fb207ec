"""Put labels beside points and lines, placed so that they cover nothing."""

from itertools import product
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from frontier.results.figures.canvas import BUDGET, INK, MUTED, note
from frontier.results.figures.ground import Ground, drawn

# Where a label may stand, in points right of its point and above it.
_PLACES = [(8, 0), (-8, 0), (0, 8), (0, -8), (7, 6), (7, -6), (-7, 6), (-7, -6)]
# How often as far off as _PLACES says a label may stand.
_DISTANCES = (1, 2, 3, 4, 6, 9)
# From this distance on a thin line leads to the point.
_FAR = 3
# Points from one label at a line's end to the next: as they are liked, and the least at which they can be read.
_LINE = 13
_LEAST_LINE = 9
# Points by which a label may be pushed away from its line's end before a thin line leads there.
_AWAY = 5
# How strongly the inside of a budget is shaded.
_SHADE = 0.1
# The thin line from a label to its point.
_LEADER: dict[str, Any] = {"arrowstyle": "-", "color": MUTED, "lw": 0.5, "shrinkA": 0, "shrinkB": 3}


def draw_budget(axis, limit: float | None, text: str) -> list[Line2D]:
    """Shade what of a chart is inside a budget, up to a dashed line; return its entry for the legend, if any.

    There its text covers no point. Where the line would crush the data to fit in, a note says where it is instead.
    """
    if limit is None:
        return []
    axes, vertical = axis.axes, axis.axis_name == "x"
    low, high = axis.get_view_interval()
    logarithmic = axis.get_scale() == "log"
    reach = (low / 5, high * 5) if logarithmic else (low - 1.5 * (high - low), high + 1.5 * (high - low))
    is_near = reach[0] <= limit <= reach[1]
    if is_near:
        draw = axes.axvline if vertical else axes.axhline
        draw(limit, color=BUDGET, lw=1.4, ls=(0, (5, 3)), zorder=1)
        room = (1.15, 1 / 1.15) if logarithmic else (0.08 * (high - low), -0.08 * (high - low))
        ends = [limit * side if logarithmic else limit + side for side in room]
        low, high = (low if low == 0 else min(low, ends[1])), max(high, ends[0])
    else:
        beyond = ("right of" if vertical else "above") if limit > high else ("left of" if vertical else "below")
        note(axes, f"{text}: {beyond} this chart", BUDGET)
    if limit > low:
        (axes.axvspan if vertical else axes.axhspan)(low, min(limit, high), color=BUDGET, alpha=_SHADE, lw=0, zorder=0)
    axis.set_view_interval(low, high, ignore=True)
    look: dict[str, Any] = {"ls": "none", "marker": "|" if vertical else "_", "ms": 13, "mew": 1.6, "color": BUDGET}
    return [Line2D([], [], label=text, **look)] if is_near else []


def label_points(axes, labels: list[tuple], **look) -> None:
    """Put each text beside one of its points, where it covers least and is near: (points (x, y), text).

    Of equal places the first is taken, in the order of the points. `look` is of the texts, beside their places.
    """
    figure = axes.figure
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    markers, intervals = drawn(axes)
    inside = axes.get_window_extent(renderer)
    ground = Ground(inside, [text.get_window_extent(renderer) for text in axes.texts] + markers, intervals)
    for points, text in labels:
        ground.taken.append(_label_one(axes, points, text, ground, look))


def _label_one(axes, points, text: str, ground: Ground, look: dict) -> Bbox:
    """Put a text beside one of the points, at the best place on the ground; return its box in pixels."""
    renderer, point = axes.figure.canvas.get_renderer(), axes.figure.dpi / 72
    best = None
    for distance, place, offset in product(_DISTANCES, points, _PLACES):
        far = {"arrowprops": _LEADER} if distance >= _FAR else {}
        label = _annotate(axes, text, place, (offset[0] * distance, offset[1] * distance), look | far)
        label.update_positions(renderer)
        # Of the text alone: an annotation's own box has the line to its point too.
        box = Text.get_window_extent(label, renderer).padded(point)
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


def _annotate(axes, text: str, place: tuple, offset: tuple[int, int], look: dict):
    """Write a text beside a place, on the side of it that the offset, in points, tells."""
    right, above = offset
    sides = {
        "ha": "left" if right > 0 else "right" if right < 0 else "center",
        "va": "bottom" if above > 0 else "top" if above < 0 else "center_baseline",
    }
    look = {"color": INK, "fontsize": 9.5} | sides | look
    return axes.annotate(text, tuple(place), offset, textcoords="offset points", **look)


def label_ends(axes, ends: list[tuple], before: float | None = None) -> None:
    """Name lines at their right end, given as (y, text, colour), pushed apart where they would overlap.

    They stand outside the chart or, where the lines' left ends are to be named, inside, left of the value `before`. A
    text that was pushed away has a thin line to its own line's end.
    """
    axes.figure.canvas.draw()
    point, window, ends = axes.figure.dpi / 72, axes.get_window_extent(), sorted(ends)
    heights = [axes.transData.transform((axes.get_xlim()[1], value))[1] / point for value, _, _ in ends]
    room = window.height / point
    step = min(_LINE, max(room / max(len(ends), 1), _LEAST_LINE))
    x, kind, side = (1, "axes fraction", 1) if before is None else (before, "data", -1)
    look = {"ha": "left" if side > 0 else "right", "va": "center", "fontsize": min(9.5, 0.85 * step)}
    places = _apart(heights, step, window.y0 / point, room)
    away = any(abs(placed - height) > _AWAY for placed, height in zip(places, heights, strict=True))
    leader = _LEADER | {"relpos": (side < 0, 0.5)}
    for (value, text, colour), height, placed in zip(ends, heights, places, strict=True):
        axes.annotate(
            text, (x, value), (side * (18 if away else 9), placed - height), xycoords=(kind, "data"),
            textcoords="offset points", color=colour, annotation_clip=False,
            arrowprops=leader if away else None, **look,
        )  # fmt: skip


def _apart(heights: list[float], step: float, floor: float, room: float) -> list[float]:
    """Return ascending heights moved apart to at least a step, and down again where they would leave the room."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + step) if placed else height)
    top = max(floor + room, heights[-1]) if heights else 0
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], top)
        top = placed[index] - step
    return placed
