"""Draw what rank buys: each arm at its best learning rate beside the best of all; and what each rate came to."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.transforms import ScaledTranslation

from frontier import axes as settings
from frontier.results.configurations import configurations_of
from frontier.results.figures.bests import Best, setting
from frontier.results.figures.canvas import (
    COLOURS,
    INK,
    LOWER_IS_BETTER,
    WIDE,
    Drawn,
    canvas,
    legend,
    log_if_wide,
    nothing,
)
from frontier.results.figures.labels import label_ends, label_points
from frontier.results.figures.looks import LEVEL, RING, Looks, arm_keys, marker
from frontier.results.figures.notes import draw_bases, warn_of_unlike
from frontier.results.figures.points import cross_keys, mark_unfinished, none_has
from frontier.results.figures.rates import draw_rates

# How far right of an arm the dots of its seeds stand, in doublings of the rank.
_TO_SEEDS = 0.035
# Inches from the chart down to the first row of rates, and from row to row.
_FIRST_ROW, _ROW = 0.36, 0.17


def perplexity_rank(results: Drawn, size=WIDE) -> plt.Figure:
    """Draw perplexity over rank; with several learning rates beside it, or below it where narrow, over rate too."""
    picked = sorted(results.bests, key=lambda one: one.arm)
    if not picked:
        figure, axes = canvas(size)
        nothing(axes, none_has("perplexity", results.table))
        return figure
    looks = Looks.of(configuration.arm for configuration in configurations_of(results.table))
    rated = [one for one in picked if one.known.best is not None]
    panels, stacked = 2 if rated and len(results.rates) > 1 else 1, size[0] < WIDE[0]
    # The rates' panel and their list take room of their own.
    width, height = size[0], size[1] + (panels > 1) * _ROW * len(looks.lines)
    rows, columns = (panels, 1) if stacked else (1, panels)
    figure, charts = plt.subplots(
        rows, columns, figsize=(width, height + (rows - 1) * 0.9 * size[1]), layout="constrained", squeeze=False
    )
    axes = charts.flat[0]
    keys = arm_keys(picked, looks) + cross_keys(results.table)
    legend(figure, keys, 2 if stacked else 4 if size[0] <= WIDE[0] else 7)
    _draw_ranks(axes, results, picked, looks)
    if panels > 1:
        draw_rates(charts.flat[1], rated, looks)
    return figure


def _draw_ranks(axes, results: Drawn, picked: list[Best], looks: Looks) -> None:
    """Draw each arm over its rank, those of one precision and setting joined; the bases; what did not end ok."""
    ends = []
    for precision, others in looks.lines:
        arms = [one for one in picked if (one.arm.precision, one.arm.others) == (precision, others)]
        if arms:
            places = [looks.place(one.arm) for one in arms]
            axes.plot(places, [one.perplexity for one in arms], lw=1.6, **looks.line(arms[0].arm))
            ends.append((arms[-1].perplexity, " ".join(filter(None, (precision, setting(arms[0].arm)))), INK))
    for one in picked:
        _draw_arm(axes, one, looks.place(one.arm))
    _rank_axis(axes, looks.ranks)
    axes.set(xlabel="LoRA rank", ylabel=LOWER_IS_BETTER)
    if len(results.rates) > 1:
        _list_rates(axes, picked, looks)
    axes.margins(y=0.1)
    log_if_wide(axes.yaxis, pd.Series([one.perplexity for one in picked]))
    warn_of_unlike(axes, results.table)
    ends += draw_bases(
        axes, results.table.dropna(subset=["perplexity"]).groupby("precision")["base_perplexity"].first()
    )
    table = results.at_best
    table = table.assign(place=[looks.place(one.arm) for one in configurations_of(table)])
    label_points(axes, mark_unfinished(axes, table, "place", "perplexity", "{status}"))
    label_ends(axes, ends)


def _draw_arm(axes, one: Best, place: float) -> None:
    """Draw an arm's marker with its bar and its seeds; the reference has a ring, and a line at its level."""
    colour = COLOURS[one.arm.precision]
    if one.bar:
        axes.vlines(place, *one.bar, color=colour, lw=1.6, alpha=0.7)
    if len(one.seeds) > 1:
        axes.plot(
            [place * 2**_TO_SEEDS] * len(one.seeds),
            one.seeds,
            ls="none",
            marker="o",
            ms=2.5,
            mew=0,
            color=colour,
            alpha=0.6,
        )
    axes.plot(place, one.perplexity, ms=7.5, zorder=3, **marker(one))
    if one.is_reference:
        axes.plot(place, one.perplexity, zorder=2, **RING)
        axes.axhline(one.perplexity, zorder=1, **LEVEL)


def _rank_axis(axes, ranks: list[int]) -> None:
    """Make the horizontal axis one of ranks: logarithmic, with a tick at each."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(rank) for rank in ranks])
    axes.minorticks_off()
    axes.set_xlim(ranks[0] / 1.35, ranks[-1] * 1.35)


def _list_rates(axes, picked: list[Best], looks: Looks) -> None:
    """Write each arm's best rate below its rank, a row for each line, which stands before it."""
    # In inches from the chart's lower left corner.
    corner = axes.figure.dpi_scale_trans + ScaledTranslation(0, 0, axes.transAxes)
    rows = {line: -(_FIRST_ROW + _ROW * place) for place, line in enumerate(looks.lines)}
    look = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": 8.5, "color": INK}
    for one in picked:
        down = rows[one.arm.precision, one.arm.others]
        if one.known.best is not None:
            axes.annotate(
                settings.text(one.known.best), (one.arm.rank, 0), (0, 72 * down), xycoords=("data", "axes fraction"),
                annotation_clip=False, **look,
            )  # fmt: skip
        sample = looks.line(one.arm) | {"marker": marker(one)["marker"], "ms": 4.5, "lw": 1.4}
        axes.plot([-0.46, -0.3, -0.14], [down] * 3, markevery=[1], transform=corner, clip_on=False, **sample)
    axes.set_xlabel("LoRA rank, and below it the best learning rate", labelpad=4 + 72 * _ROW * len(rows))
