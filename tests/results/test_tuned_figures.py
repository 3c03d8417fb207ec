"""What the figures show of several learning rates and settings: each arm at its best, its gap, its edge, each rate."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import sweeps
from frontier.results import tuning
from frontier.results.arms import diverged_rates
from frontier.results.figures import costs, rates, tradeoff
from frontier.results.figures.canvas import BROAD, NARROW, WIDE, Drawn
from frontier.results.figures.draw import FIGURES, is_broad
from frontier.results.figures.ranks import perplexity_rank
from matplotlib.collections import LineCollection

# What of an arm's rates went wrong: NF4's highest rank diverged at the highest rate, its lowest came to nonsense there.
WRONG = {("nf4", 32, 8e-3): sweeps.DIVERGED, ("nf4", 8, 8e-3): {"perplexity": 11e9, "eval_loss": math.log(11e9)}}


@pytest.fixture(scope="module")
def several() -> Drawn:
    """Five rates of which the best is inside, two precisions, two ranks, two seeds."""
    return sweeps.sweep(ranks=(8, 32), where=WRONG)


@pytest.fixture(scope="module")
def at_edge() -> Drawn:
    """Rates that all lie above the best of the high rank, and bracket that of the low one."""
    return sweeps.sweep(rates=(1e-3, 2e-3, 4e-3), ranks=(8, 512), precisions=("nf4",), seeds=(0,))


@pytest.fixture(scope="module")
def twenty() -> Drawn:
    return sweeps.sweep(rates=(1e-3, 2e-3, 4e-3), ranks=(4, 8, 16, 32, 64), alphas=(1, 2), seeds=(0,))


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def words(figure) -> list[str]:
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [axes.get_title(loc="right") for axes in figure.axes]
    boxes = [*figure.legends, *filter(None, (axes.get_legend() for axes in figure.axes))]
    return found + [text.get_text() for box in boxes for text in box.get_texts()]


def markers(axes, size: float) -> list:
    return [line for line in axes.lines if line.get_marker() in ("o", "D") and line.get_markersize() == size]


def bars(axes) -> list[np.ndarray]:
    parts = [part for part in axes.collections if isinstance(part, LineCollection)]
    return [segment for part in parts for segment in part.get_segments()]


def test_each_arm_stands_at_its_best_rate_with_the_paired_interval_from_the_best(several):
    standing = tuning.standings(tuning.tuned(several.losses, diverged_rates(several.table)))
    axes = perplexity_rank(several).axes[0]
    drawn = sorted(line.get_ydata()[0] for line in markers(axes, 7.5))
    at_best = several.table[several.table["learning_rate"] == 2e-3]
    means = np.exp(at_best.groupby(["precision", "rank"])["eval_loss"].mean())
    assert drawn == pytest.approx(sorted(means))
    behind = [one.behind for one in standing.values() if one.behind]
    level = means["fp16", 32]
    expected = sorted((level * math.exp(one.low), level * math.exp(one.high)) for one in behind)
    assert len(expected) == len(standing) - 1
    assert np.allclose(sorted(tuple(bar[:, 1]) for bar in bars(axes)), expected)


def test_a_bar_reaches_the_level_of_the_best_where_the_two_are_not_told_apart(several):
    axes = perplexity_rank(several).axes[0]
    (ring,) = [line for line in axes.lines if line.get_markersize() == 13]
    level = ring.get_ydata()[0]
    assert level == min(line.get_ydata()[0] for line in markers(axes, 7.5))
    assert [line for line in axes.lines if list(line.get_ydata()) == [level, level]]
    standing = tuning.standings(tuning.tuned(several.losses, diverged_rates(several.table)))
    level_with_best = sum(one.behind.low <= 0 for one in standing.values() if one.behind)
    assert sum(low <= level for (_, low), _ in bars(axes)) == level_with_best


def test_best_rates_are_listed_below_the_ranks(several):
    axes = perplexity_rank(several).axes[0]
    assert sum(text.get_text() == "2e-3" for text in axes.texts) == 4
    assert "best learning rate" in axes.get_xlabel()
    alone = perplexity_rank(sweeps.sweep(rates=(2e-3,), ranks=(8, 32)))
    assert "2e-3" not in words(alone)
    assert alone.axes[0].get_xlabel() == "LoRA rank"


def test_an_arm_at_an_edge_is_hollow_and_the_legend_says_so(several, at_edge):
    figure = perplexity_rank(at_edge)
    assert "best rate at an edge" in words(figure)
    for axes, size in zip(figure.axes, (7.5, 7), strict=True):
        filled = {line.get_markerfacecolor() == line.get_color() for line in markers(axes, size)}
        assert filled == {True, False}
    figure = perplexity_rank(several)
    assert "best rate at an edge" not in words(figure)
    assert all(line.get_markerfacecolor() == line.get_color() for line in markers(figure.axes[0], 7.5))


def test_seeds_at_the_best_rate_are_dots_where_there_are_several(several, at_edge):
    dots = [line for line in perplexity_rank(several).axes[0].lines if line.get_markersize() == 2.5]
    at_best = several.table[several.table["learning_rate"] == 2e-3]
    assert sorted(value for line in dots for value in line.get_ydata()) == sorted(at_best["perplexity"])
    assert not [line for line in perplexity_rank(at_edge).axes[0].lines if line.get_markersize() == 2.5]


def test_the_rates_stand_beside_the_ranks_and_below_them_where_narrow(several):
    assert len(perplexity_rank(sweeps.sweep(rates=(2e-3,), seeds=(0,))).axes) == 1
    for size, is_below in ((BROAD, False), (NARROW, True)):
        figure = perplexity_rank(several, size)
        figure.canvas.draw()
        first, second = (axes.get_window_extent() for axes in figure.axes)
        assert (second.y1 < first.y0) == is_below
        assert (second.x0 > first.x1) != is_below


def test_a_curve_an_arm_with_its_best_marked(several):
    axes = perplexity_rank(several, BROAD).axes[1]
    lines = [line for line in axes.lines if line.get_linestyle() == "-" and line.get_marker() == "None"]
    assert [len(line.get_xdata()) for line in lines] == [5, 5, 5, 4]
    assert [line.get_xdata()[0] for line in markers(axes, 7)] == [2e-3] * 4
    for line, best in zip(lines, markers(axes, 7), strict=True):
        assert best.get_ydata()[0] == min(line.get_ydata())
    assert {"fp16 r8", "fp16 r32", "nf4 r8", "nf4 r32"} <= set(words(axes.figure))
    assert len({line.get_alpha() for line in lines}) == 2


def test_a_rate_that_diverged_is_a_cross_and_one_far_worse_leaves_the_chart(several):
    axes = perplexity_rank(several, BROAD).axes[1]
    low, top = axes.get_ylim()
    (cross,) = [line for line in axes.lines if line.get_marker() == "X"]
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (8e-3, top)
    assert "nf4 r32" in [text.get_text() for text in axes.texts if text.xy == (8e-3, top)]
    assert top < 2.5
    best = [line.get_ydata()[0] for line in markers(axes, 7)]
    assert (max(best) - min(best)) / (top - low) > 0.15
    # On the chart over rank a diverged rate is nothing that did not end ok, since the arm's best did.
    assert not [line for line in axes.figure.axes[0].lines if line.get_marker() == "X"]


def test_the_chart_of_rates_ends_above_the_arms_and_what_is_beside_their_best(several):
    highest = rates.highest(several.bests)
    assert all(one.perplexity < highest for one in several.bests)
    alone = sweeps.sweep(rates=(1e-3, 2e-3), ranks=(8,), precisions=("nf4",), seeds=(0,))
    assert rates.highest(alone.bests) > max(alone.table["perplexity"])


def test_crosses_stand_once_an_arm_and_not_once_a_rate():
    where = {("fp16", 32, rate): sweeps.OOM for rate in (1e-3, 2e-3, 4e-3)}
    results = sweeps.sweep(rates=(1e-3, 2e-3, 4e-3), ranks=(8, 32), seeds=(0,), where=where)
    for name in ("perplexity_memory", "memory_time", "perplexity_time", "perplexity_rank"):
        axes = FIGURES[name](results).axes[0]
        assert len([line for line in axes.lines if line.get_marker() == "X"]) == 1, name


@pytest.mark.parametrize(
    ("draw", "count"), [(costs.memory_time, 2 * 2 * 2), (tradeoff.perplexity_memory, 4), (tradeoff.perplexity_time, 4)]
)
def test_costs_have_each_arm_at_its_best_rate_alone(several, draw, count):
    figure = draw(several)
    assert sum(len(line.get_xdata()) for line in markers(figure.axes[0], 6.5)) == count
    assert "each at its best learning rate" in words(figure)
    assert "each at its best learning rate" not in words(draw(sweeps.sweep(rates=(2e-3,), ranks=(8,))))


@pytest.mark.parametrize("size", [WIDE, NARROW])
@pytest.mark.parametrize("name", ["memory_time", "perplexity_time", "perplexity_rank"])
def test_of_twenty_arms_no_label_covers_a_marker_or_another_label(twenty, name, size):
    figure = FIGURES[name](twenty, BROAD if size == WIDE and is_broad(name, twenty) else size)
    figure.canvas.draw()
    axes = figure.axes[0]
    boxes = [super(type(text), text).get_window_extent() for text in axes.texts]
    points = [axes.transData.transform(place) for line in markers(axes, 6.5) for place in line.get_xydata()]
    points += [axes.transData.transform(line.get_xydata()[0]) for line in markers(axes, 7.5)]
    assert len(points) == 20
    radius = 2.5 * figure.dpi / 72
    for box, text in zip(boxes, axes.texts, strict=True):
        for across, up in points:
            nearest = np.clip(across, box.x0, box.x1), np.clip(up, box.y0, box.y1)
            assert np.hypot(nearest[0] - across, nearest[1] - up) > radius, text.get_text()
        assert box.x1 <= figure.bbox.x1, text.get_text()
    assert figure.legends[0].get_window_extent().x1 <= figure.bbox.x1
    pairs = [(one, other) for place, one in enumerate(boxes) for other in boxes[:place]]
    assert not [1 for one, other in pairs if one.overlaps(other) and one.x0 > axes.bbox.x0]


def test_settings_have_a_line_and_an_entry_each(twenty):
    figure = perplexity_rank(twenty, BROAD)
    assert {"nf4 alpha 1r", "fp16 alpha 2r", "alpha 1r", "alpha 2r"} <= set(words(figure))
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 5]
    assert len({(line.get_color(), str(line.get_linestyle())) for line in lines}) == 4
    # More curves than can be named have the ranks in a legend of the chart.
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["r4", "r8", "r16", "r32", "r64"]


def test_without_losses_there_are_arms_and_no_bars(several):
    alone = Drawn(several.table, several.histories, several.budget)
    figure = perplexity_rank(alone)
    assert len(markers(figure.axes[0], 7.5)) == 4
    assert bars(figure.axes[0]) == []
    assert not any("95%" in text for text in words(figure))
    assert [one.known.best for one in alone.bests] == [2e-3] * 4


def test_a_study_of_which_one_rate_is_left_is_drawn():
    where = {("nf4", 8, 2e-3): sweeps.DIVERGED}
    results = sweeps.sweep(rates=(1e-3, 2e-3), ranks=(8,), precisions=("nf4",), seeds=(0,), where=where)
    for draw in FIGURES.values():
        draw(results, NARROW)
    axes = perplexity_rank(results).axes[1]
    assert [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "X"] == [2e-3]
    assert [line.get_xdata()[0] for line in markers(axes, 7)] == [1e-3]
