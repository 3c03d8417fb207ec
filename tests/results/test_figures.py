"""What the figures show: every run where it belongs, the budget, the frontier, the intervals."""

import re
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pages
import pandas as pd
import pytest
from conftest import ROOT
from frontier.results.figures import costs, curves, ranks, svg
from frontier.results.figures.canvas import NARROW, WIDE, Drawn
from frontier.results.figures.draw import FIGURES


@pytest.fixture(scope="module")
def results() -> Drawn:
    table = pages.summary()
    histories = {row.run: pages.history(0 if row.status == "oom" else 300, 0.8) for row in table.itertuples()}
    return Drawn(table, histories, {"memory_gib": 6, "hours": 24})


def texts(figure) -> list[str]:
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [axes.get_title(loc="right") for axes in figure.axes]
    return found + [text.get_text() for legend in figure.legends for text in legend.get_texts()]


@pytest.mark.parametrize("size", [WIDE, NARROW])
@pytest.mark.parametrize("name", FIGURES)
def test_figure_says_which_runs_did_not_end_ok(results, name, size):
    figure = FIGURES[name](results, size)
    assert "did not end ok" in texts(figure)
    crosses = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "X"]
    assert len(crosses) == (4 if name == "training_curves" else 6)
    if name != "training_curves":
        assert [label for label in texts(figure) if label.endswith("over time")]
    plt.close(figure)


def test_budget_is_a_line_or_a_note(results):
    figure = costs.memory_time(results)
    assert {"memory budget 6 GiB", "time budget 24 h"} <= set(texts(figure))
    levels = [line.get_ydata()[0] for line in figure.axes[0].lines if len(set(line.get_ydata())) == 1]
    assert 6 in levels
    plt.close(figure)
    far = costs.memory_time(Drawn(results.table, {}, {"memory_gib": 800, "hours": None}))
    assert "memory budget 800 GiB: above this chart" in texts(far)
    assert far.axes[0].get_ylim()[1] < 100
    plt.close(far)


@pytest.mark.parametrize("name", ["memory_time", "perplexity_rank"])
def test_runs_of_unlike_machines_are_warned_of(results, name):
    alike = results.table.assign(notes=None)
    unlike = alike.assign(notes=["device another card, not card", *[None] * (len(alike) - 1)])
    warning = f"1 of {len(alike)} runs on another machine or other versions (notes)"
    assert warning not in texts(FIGURES[name](Drawn(alike)))
    assert any(warning in text for text in texts(FIGURES[name](Drawn(unlike))))


def test_run_without_a_time_stands_at_the_far_end(results):
    figure = costs.memory_time(results)
    axes = figure.axes[0]
    crosses = [line for line in axes.lines if line.get_marker() == "X"]
    memory = set(results.table.loc[results.table["status"] == "oom", "peak_memory_gib"])
    at_the_end = {line.get_ydata()[0] for line in crosses if line.get_xdata()[0] == axes.get_xlim()[1]}
    assert at_the_end == memory
    plt.close(figure)


def test_run_that_was_never_loaded_stands_at_what_it_would_have_needed(results):
    table = results.table.assign(needs_gib=results.table["peak_memory_gib"].where(results.table["status"] == "oom"))
    table.loc[table["status"] == "oom", "peak_memory_gib"] = None
    figure = costs.memory_time(Drawn(table, {}, {"memory_gib": 6, "hours": None}))
    levels = {line.get_ydata()[0] for line in figure.axes[0].lines if line.get_marker() == "X"}
    assert set(table["needs_gib"].dropna()) <= levels
    plt.close(figure)


def test_summary_without_intervals_frontier_or_histories_is_drawn():
    table = pages.summary().drop(columns=["perplexity_low", "perplexity_high", "pareto", "fits"])
    for draw in FIGURES.values():
        figure = draw(Drawn(table))
        assert "on the frontier" not in texts(figure)
        plt.close(figure)


def test_long_history_keeps_its_mean_and_its_end():
    history = pages.history(600, 0.8)
    thinned = curves.thin(history)
    assert len(thinned) == 60
    assert thinned["loss"].mean() == pytest.approx(history["loss"].mean())
    assert thinned["step"].iloc[-1] == 600
    short = pages.history(12, 0.8)
    assert curves.thin(short) is short


def test_inline_svg_is_xml_with_text_and_the_pages_colours(results):
    drawings = [svg.inline(costs.memory_time, results, WIDE, prefix, "A label") for prefix in ("one", "two")]
    identifiers = [set(re.findall(r'\bid="([^"]+)"', drawing)) for drawing in drawings]
    assert identifiers[0]
    assert not re.search(r' d="[^"]*\.\d{3}', drawings[0]), "digits that no screen shows"
    assert not identifiers[0] & identifiers[1]
    used = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", drawings[0]))
    assert used <= identifiers[0]
    root = ElementTree.fromstring(drawings[0].replace("xlink:href", "href"))
    assert "memory budget 6 GiB" in [text.text for text in root.iter() if text.tag.endswith("text")]
    assert not re.findall(r"#[0-9a-f]{6}\b", re.sub(r"(?:url\(|href=\")#\S+", "", drawings[0]))


def test_devices_are_told_apart(results):
    """By how much of a marker is filled, with a key; and no key where there is one device."""
    table = results.table.assign(device=["card A", "card B"] * (len(results.table) // 2))
    fills = {"full", "none"}
    # The chart over rank has means over seeds, wherever they were trained.
    for name, draw in FIGURES.items() - {("perplexity_rank", ranks.perplexity_rank)}:
        figure = draw(Drawn(table, results.histories))
        assert {"card A", "card B"} <= set(texts(figure)), name
        lines = [line for axes in figure.axes for line in axes.lines if line.get_marker() not in ("None", "X", "")]
        drawn = {line.get_fillstyle() for line in lines}
        assert drawn == fills, name
        plt.close(figure)
    figure = costs.memory_time(Drawn(results.table.assign(device="card A")))
    assert "card A" not in texts(figure)
    plt.close(figure)


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_no_label_touches_a_marker_or_a_line_that_joins_seeds(size):
    """On the reference results: two seeds of each configuration, some within a label's width of each other."""
    folder = ROOT / "docs/reference/smollm2-gsm8k-at-5e-4"
    figure = costs.memory_time(Drawn(pd.read_csv(folder / "summary.csv")), size)
    axes = figure.axes[0]
    figure.canvas.draw()
    points = [place for line in axes.lines if line.get_marker() in "oD" for place in line.get_xydata()]
    joins = [line.get_xydata() for line in axes.lines if line.get_linestyle() == "-"]
    assert len(points) == 20
    assert [len(seeds) for seeds in joins] == [2] * 10
    radius = 130**0.5 / 2 * figure.dpi / 72
    for label in axes.texts:
        box = label.get_window_extent()
        for across, up in axes.transData.transform(points):
            nearest = np.clip(across, box.x0, box.x1), np.clip(up, box.y0, box.y1)
            assert np.hypot(nearest[0] - across, nearest[1] - up) > radius, label.get_text()
        for ends in axes.transData.transform(np.array(joins).reshape(-1, 2)).reshape(-1, 2, 2):
            assert not any(box.contains(*place) for place in np.linspace(*ends, 500)), label.get_text()
    plt.close(figure)
