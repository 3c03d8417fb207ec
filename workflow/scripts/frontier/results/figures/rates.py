"""Draw what the learning rate does: each arm's perplexity over the rates that were tried."""

import statistics
from collections import Counter
from collections.abc import Iterable

from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from frontier import axes as settings
from frontier.results.configurations import Configuration
from frontier.results.figures.bests import Best, name, perplexity
from frontier.results.figures.canvas import COLOURS, INK, MUTED
from frontier.results.figures.labels import label_ends, label_points
from frontier.results.figures.looks import RING, Looks, marker
from frontier.results.figures.points import CROSS

# The chart reaches above the lowest loss by this many times what the arms' best rates do, or by this many times what a
# rate beside a best one typically does, whichever is more: the curve of a rate that is far worse leaves the chart.
_BESTS, _BESIDE = 1.5, 4
# Ticks that fit side by side.
_TICKS = 7
# Points from the cross of one precision to that of the next at the same rate.
_BESIDE_CROSS = 9
# The most curves that are named each; the legend tells the ranks of more by how strong their lines are.
_NAMED = 12
# Points that a letter of a curve's name takes.
_LETTER = 5.5


def draw_rates(axes, picked: list[Best], looks: Looks) -> None:
    """Draw a curve for each arm: its best rate marked, hollow at an edge, a cross at the top where it diverged."""
    _rate_axis(axes, sorted({rate for one in picked for rate in one.known.tried}))
    curves = {one.arm: _curve(one) for one in picked}
    for one in picked:
        curve, colour = curves[one.arm], COLOURS[one.arm.precision]
        axes.plot([*curve], [*curve.values()], lw=1.6, alpha=looks.strength(one.arm), **looks.line(one.arm))
        small = marker(one) | {"color": colour, "mfc": colour, "mec": colour, "ms": 2.5}
        axes.plot([*curve], [*curve.values()], alpha=looks.strength(one.arm), **small)
        axes.plot(one.known.best, curve[one.known.best], ms=7, zorder=3, **marker(one))
        if one.is_reference:
            axes.plot(one.known.best, curve[one.known.best], zorder=2, **RING)
    low, top = min(min(curve.values()) for curve in curves.values()), highest(picked)
    axes.set_ylim(low - 0.1 * (top - low), top)
    axes.set(xlabel="Learning rate", ylabel="Validation perplexity")
    _cross_diverged(axes, picked, looks)
    if len(curves) <= _NAMED:
        _name_curves(axes, curves)
    else:
        _key_strengths(axes, picked, looks)


def highest(picked: list[Best]) -> float:
    """Return the perplexity at which the chart ends, so that rates far worse than the best do not flatten the rest."""
    losses = [[*one.known.losses.values()] for one in picked]
    lowest, most = min(map(min, losses)), max(map(max, losses))
    if most == lowest:
        return perplexity(lowest) * 1.01
    beside: list[float] = []
    for curve in losses:
        best = curve.index(min(curve))
        beside += [loss - lowest for loss in (*curve[:best][-1:], *curve[best + 1 :][:1])]
    reach = max(_BESTS * (max(map(min, losses)) - lowest), _BESIDE * statistics.median(beside) if beside else 0)
    return perplexity(min(lowest + reach, most + 0.05 * (most - lowest)))


def _key_strengths(axes, picked: list[Best], looks: Looks) -> None:
    """Put a legend of the ranks, by how strong their lines are, over the chart."""
    strengths = {one.arm.rank: looks.strength(one.arm) for one in picked}
    keys = [Line2D([], [], color=INK, lw=2, alpha=value, label=f"r{rank}") for rank, value in sorted(strengths.items())]
    axes.legend(
        handles=keys, loc="lower left", bbox_to_anchor=(0, 1), ncols=5, handlelength=1.2, handletextpad=0.4,
        columnspacing=1, borderaxespad=0.2,
    )  # fmt: skip


def _curve(one: Best) -> dict[float, float]:
    """Return an arm's perplexity by rate, less what the table does not tell the rate of."""
    return {rate: perplexity(loss) for rate, loss in one.known.losses.items() if rate is not None}


def _rate_axis(axes, tried: list[float]) -> None:
    """Make the horizontal axis one of rates: logarithmic, with a tick at each, named where the names fit."""
    axes.set_xscale("log")
    every = -(-len(tried) // _TICKS)
    axes.set_xticks(tried, [settings.text(rate) if not place % every else "" for place, rate in enumerate(tried)])
    axes.minorticks_off()
    axes.set_xlim(tried[0] / 1.3, tried[-1] * 1.3)


def _cross_diverged(axes, picked: list[Best], looks: Looks) -> None:
    """Draw a cross at the top for each rate at which arms of a precision diverged, named unless all of them did."""
    named: Counter[float] = Counter()
    top = axes.get_ylim()[1]
    precisions = [*dict.fromkeys(precision for precision, _ in looks.lines)]
    for place, precision in enumerate(precisions):
        arms = [one for one in picked if one.arm.precision == precision]
        aside = (place - (len(precisions) - 1) / 2) * _BESIDE_CROSS / 72
        shifted = axes.transData + ScaledTranslation(aside, 0, axes.figure.dpi_scale_trans)
        for rate in sorted({rate for one in arms for rate in one.diverged}):
            axes.plot(rate, top, color=COLOURS[precision], clip_on=False, zorder=4, transform=shifted, **CROSS)
            ranks = sorted({one.arm.rank for one in arms if rate in one.diverged})
            if len(ranks) < len({one.arm.rank for one in arms}):
                text, above = f"{precision} r{', '.join(map(str, ranks))}", (0, 7 + 10 * named[rate])
                look = {"ha": "center", "va": "bottom", "fontsize": 8, "color": MUTED, "annotation_clip": False}
                axes.annotate(text, (rate, top), above, textcoords="offset points", **look)
                named[rate] += 1


def _name_curves(axes, curves: dict[Configuration, dict[float, float]]) -> None:
    """Name each curve at an end that is in view, on the side where more are, else beside one of its points."""
    rates = sorted({rate for curve in curves.values() for rate in curve})
    top = axes.get_ylim()[1]
    in_view = {rate: [arm for arm, curve in curves.items() if curve.get(rate, top) < top] for rate in rates}
    at_left = len(in_view[rates[0]]) > len(in_view[rates[-1]])
    end = rates[0] if at_left else rates[-1]
    titles = {arm: _title(arm, curves) for arm in curves}
    if at_left:
        _make_room(axes, max(map(len, titles.values())))
    others = [([*reversed(_in_view(curves[arm], top))], titles[arm]) for arm in curves if arm not in in_view[end]]
    label_points(axes, others, fontsize=8, color=MUTED)
    label_ends(axes, [(curves[arm][end], titles[arm], INK) for arm in in_view[end]], end if at_left else None)


def _make_room(axes, letters: int) -> None:
    """Widen the chart to the left, so that names of as many letters stand inside it."""
    axes.figure.canvas.draw()
    width = axes.get_window_extent().width * 72 / axes.figure.dpi
    share = min((_LETTER * letters + 18) / width, 0.45)
    left, right = axes.get_xlim()
    axes.set_xlim(left=left / (right / left) ** (share / (1 - share)))


def _title(arm: Configuration, curves: Iterable[Configuration]) -> str:
    """Return an arm's name, with its precision where curves of several stand together."""
    return f"{arm.precision} {name(arm)}" if len({one.precision for one in curves}) > 1 else name(arm)


def _in_view(curve: dict[float, float], top: float) -> list[tuple[float, float]]:
    """Return a curve's points that stand below the chart's top."""
    return [point for point in sorted(curve.items()) if point[1] <= top]
