"""The trade-off drawn: points, their spread, the frontier, the recommended one, and the budget in the budget's unit."""

import json
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pages
import pandas as pd
import pytest
import sweeps
from conftest import ROOT
from frontier.results import derived
from frontier.results.configurations import Configuration, configurations_of
from frontier.results.figures import draw
from frontier.results.figures.canvas import BUDGET, NARROW, WIDE, Drawn
from frontier.results.figures.tradeoff import perplexity_memory, perplexity_time
from frontier.results.frontier import frontier
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

# What CUDA's context and the allocator keep beside the tensors, in GiB.
KEPT = 0.9


@pytest.fixture(scope="module")
def study() -> Drawn:
    """Three rates, two precisions, three ranks, two seeds; times repeat to 1%, and NF4 beats some fp16."""
    results = sweeps.sweep(rates=(1e-3, 2e-3, 4e-3), ranks=(8, 16, 64))
    slower = results.table["rank"].map({8: 1.0, 16: 1.3, 64: 2.0}) * (1 + 0.01 * results.table["seed"])
    slower *= results.table["precision"].map({"fp16": 1.0, "nf4": 0.4})
    table = results.table.assign(
        train_seconds=9000 * slower, peak_held_gib=results.table["peak_memory_gib"] + KEPT, pareto=pd.NA
    )
    table["pareto"] = frontier(table, {})["pareto"]
    return replace(results, table=table, budget={"memory_gib": 6.2, "hours": 3.5}, recommended="nf4-r16-s1-lr0.002")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def words(figure) -> list[str]:
    found = [axes.get_title(loc="right") for axes in figure.axes] + [text.get_text() for text in figure.axes[0].texts]
    return found + [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def places(axes, *markers: str) -> list[tuple[float, float]]:
    found = [line for line in axes.lines if line.get_marker() in markers and len(line.get_xdata()) == 1]
    return sorted((float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in found)


def points(axes) -> list[tuple[float, float]]:
    sized = [line for line in axes.lines if line.get_markersize() == 6.5 and len(line.get_xdata())]
    return sorted((float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in sized)


def joined(axes) -> list[tuple[float, float]]:
    """The points that the frontier's line goes through; empty where there is none."""
    lines = [line for line in axes.lines if line.get_linestyle() == "-" and line.get_marker() == "None"]
    assert len(lines) <= 1
    return [(float(x), float(y)) for line in lines for x, y in line.get_xydata()]


def shaded(axes) -> tuple[float, float] | None:
    """The ends of the region that is inside the budget."""
    (one,) = [patch for patch in axes.patches if to_hex(patch.get_facecolor()) == BUDGET]
    return one.get_x(), one.get_x() + one.get_width()


def means(results: Drawn, column: str, per: float = 1) -> dict[Configuration, tuple[float, float]]:
    """Each arm's cost and perplexity at its best rate, computed from the table alone."""
    table = results.at_best.assign(arm=[one.arm for one in configurations_of(results.at_best)])
    grouped = table.groupby("arm")
    return {
        arm: (grouped[column].mean()[arm] / per, float(np.exp(grouped["eval_loss"].mean()[arm])))
        for arm in grouped.groups
    }


@pytest.mark.parametrize(
    ("draw_one", "column", "per"), [(perplexity_memory, "peak_held_gib", 1), (perplexity_time, "train_seconds", 3600)]
)
def test_a_point_is_a_configuration_at_the_mean_of_its_seeds(study, draw_one, column, per):
    axes = draw_one(study).axes[0]
    assert np.allclose(points(axes), sorted(means(study, column, per).values()))
    segments = [part for part in axes.collections if isinstance(part, LineCollection)]
    ends = [segment for part in segments for segment in part.get_segments()]
    upright = sorted(tuple(end[:, 1]) for end in ends if end[0, 0] == end[1, 0])
    assert np.allclose(upright, sorted(one.bar for one in study.bests if one.bar))
    level = [end[:, 0] for end in ends if end[0, 1] == end[1, 1]]
    by_arm = study.at_best.groupby(["precision", "rank"])[column]
    spread = by_arm.agg(["min", "max"])[by_arm.max() > by_arm.min()] / per
    assert np.allclose(sorted(map(tuple, level)), sorted(map(tuple, spread.to_numpy())))


def test_a_point_in_the_region_is_inside_the_budget(study):
    """By `fits` of the summary, which counts what the process held; the tensors alone would all be inside."""
    assert (study.at_best["peak_memory_gib"] < 6.2).sum() > (study.at_best["peak_held_gib"] < 6.2).sum()
    for draw_one, limit, column in (
        (perplexity_memory, {"memory_gib": 6.2, "hours": None}, "peak_held_gib"),
        (perplexity_time, {"memory_gib": None, "hours": 3.5}, "train_seconds"),
    ):
        axes = draw_one(replace(study, budget=limit)).axes[0]
        low, high = shaded(axes)
        assert high == pytest.approx(limit["memory_gib"] or limit["hours"])
        assert low == axes.get_xlim()[0]
        table = study.at_best.assign(fits=derived.fits(study.at_best, limit))
        fitting = table.groupby(["precision", "rank"])["fits"].all().sum()
        assert 0 < fitting < len(means(study, column))
        assert sum(low <= place <= high for place, _ in points(axes)) == fitting


def test_the_regions_limit_is_named_and_one_far_off_is_a_note(study):
    assert "memory budget 6.2 GiB" in words(perplexity_memory(study))
    figure = perplexity_memory(replace(study, budget={"memory_gib": 800, "hours": None}))
    assert "memory budget 800 GiB: right of this chart" in "".join(words(figure))
    low, high = shaded(figure.axes[0])
    assert low == figure.axes[0].get_xlim()[0]
    assert high <= figure.axes[0].get_xlim()[1] < 100
    figure = perplexity_memory(replace(study, budget={"memory_gib": None, "hours": None}))
    assert not figure.axes[0].patches


def test_the_axis_says_what_it_counts(study):
    assert perplexity_memory(study).axes[0].get_xlabel() == "Peak GPU memory held (GiB)"
    tensors = replace(study, table=study.table.drop(columns="peak_held_gib"))
    assert perplexity_memory(tensors).axes[0].get_xlabel() == "Peak GPU memory allocated (GiB)"


@pytest.mark.parametrize(
    ("draw_one", "column", "per"), [(perplexity_memory, "peak_held_gib", 1), (perplexity_time, "train_seconds", 3600)]
)
def test_the_frontiers_line_goes_through_those_that_nothing_beats_and_no_others(study, draw_one, column, per):
    rows = study.at_best[study.at_best["pareto"].eq(True)]
    unbeaten = {one.arm for one in configurations_of(rows)}
    assert 1 < len(unbeaten) < len(study.bests)
    expected = sorted(place for arm, place in means(study, column, per).items() if arm in unbeaten)
    axes = draw_one(study).axes[0]
    assert np.allclose(joined(axes), expected)
    faint = {line.get_alpha() for line in axes.lines if line.get_markersize() == 6.5}
    assert len(faint) == 2


def test_nothing_is_joined_or_faint_where_no_frontier_is_known(study):
    unknown = replace(study, table=study.table.drop(columns="pareto"))
    figure = perplexity_memory(unknown)
    assert joined(figure.axes[0]) == []
    assert "on the frontier" not in words(figure)
    assert {line.get_alpha() for line in figure.axes[0].lines if line.get_markersize() == 6.5} == {1}


@pytest.mark.parametrize(
    ("draw_one", "column", "per"), [(perplexity_memory, "peak_held_gib", 1), (perplexity_time, "train_seconds", 3600)]
)
def test_the_recommended_configuration_has_a_star(study, draw_one, column, per):
    figure = draw_one(study)
    (star,) = places(figure.axes[0], "*")
    assert star == pytest.approx(means(study, column, per)[Configuration("nf4", 16)])
    assert "recommended" in words(figure)
    without = draw_one(replace(study, recommended=None))
    assert places(without.axes[0], "*") == []
    assert "recommended" not in words(without)


def test_the_run_that_the_findings_recommend_is_the_one_that_is_marked(tmp_path):
    job = pages.write(tmp_path)
    results = draw.read_results(job["input"], pages.STUDY["budget"])
    assert results.recommended == "nf4-r16-s1"
    (star,) = places(perplexity_memory(results).axes[0], "*")
    assert star[0] == pytest.approx(5.1 + 16 / 40)
    (tmp_path / "findings.json").write_text(json.dumps([one for one in pages.findings() if one["id"] == "knee"]))
    assert draw.read_results(job["input"], pages.STUDY["budget"]).recommended is None


def test_times_that_differ_as_repeats_do_are_not_enlarged(study):
    noise = np.random.default_rng(0).normal(1, 0.15, len(study.table))
    figure = perplexity_time(replace(study, table=study.table.assign(train_seconds=9000 * noise)))
    assert "time: no two differ by more than repeats do" in "".join(words(figure))
    assert figure.axes[0].get_xlim()[0] == 0
    # A line in the order of noise would be a zigzag.
    assert joined(figure.axes[0]) == []
    assert "on the frontier" in words(figure)
    figure = perplexity_time(study)
    assert "no two differ" not in "".join(words(figure))
    assert figure.axes[0].get_xlim()[0] > 0


def test_memory_that_differs_as_repeats_do_is_not_enlarged(study):
    level = study.table.assign(memory_metric="host_rss", peak_held_gib=None, peak_memory_gib=2.0)
    level["peak_memory_gib"] += 0.04 * (level["rank"] == 64)
    figure = perplexity_memory(replace(study, table=level))
    assert "memory: no two differ by more than repeats do" in "".join(words(figure))
    assert figure.axes[0].get_xlim()[0] == 0
    assert "no two differ" not in "".join(words(perplexity_memory(study)))


@pytest.mark.parametrize("size", [WIDE, NARROW])
@pytest.mark.parametrize("draw_one", [perplexity_memory, perplexity_time])
def test_no_label_touches_a_marker_or_another(draw_one, size):
    """On the reference results, of which some points are within a label's width of each other."""
    figure = draw_one(Drawn(pd.read_csv(ROOT / "docs/reference/smollm2-gsm8k-at-5e-4/summary.csv")), size)
    figure.canvas.draw()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(points(axes)) == 10
    for across, up in axes.transData.transform(points(axes)):
        nearest = [np.hypot(np.clip(across, b.x0, b.x1) - across, np.clip(up, b.y0, b.y1) - up) for b in boxes]
        assert min(nearest) > 3 * figure.dpi / 72
    texts = [super(type(text), text).get_window_extent() for text in axes.texts]
    assert not [1 for place, one in enumerate(texts) for other in texts[:place] if one.overlaps(other)]
