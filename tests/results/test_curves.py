"""Training curves that can be told apart: a panel an arm, its best rate strongly, names that cover no other."""

import matplotlib.pyplot as plt
import numpy as np
import pages
import pytest
import sweeps
from frontier.results.figures.canvas import BROAD, NARROW, Drawn
from frontier.results.figures.curves import thin, training_curves
from frontier.results.figures.draw import is_broad

RATES = (1e-3, 2e-3, 4e-3)


@pytest.fixture(scope="module")
def several() -> Drawn:
    return sweeps.sweep(rates=RATES, ranks=(8, 32))


@pytest.fixture(scope="module")
def forty() -> Drawn:
    """Two precisions, five ranks, two settings, two seeds: twenty arms of one rate."""
    return sweeps.sweep(rates=(2e-3,), ranks=(4, 8, 16, 32, 64), alphas=(1, 2))


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def curves(axes, is_strong: bool) -> list:
    solid = [line for line in axes.lines if line.get_linestyle() == "-" and line.get_marker() == "None"]
    return [line for line in solid if (line.get_linewidth() > 1) == is_strong]


def panels(figure) -> dict[str, plt.Axes]:
    return {axes.texts[0].get_text(): axes for axes in figure.axes if axes.texts}


def test_each_arm_has_a_panel_with_its_best_rate_strong_and_its_others_faint(several):
    found = panels(training_curves(several))
    best = {(one.arm.precision, one.arm.rank): one.known.best for one in several.bests}
    assert list(found) == [f"{p} r{r}\nat {best[p, r]:.0e}".replace("e-0", "e-") for p, r in best]
    for axes, (precision, rank) in zip(found.values(), best, strict=True):
        rows = several.table[(several.table["precision"] == precision) & (several.table["rank"] == rank)]
        is_best = rows["learning_rate"] == best[precision, rank]
        for is_strong, some in ((True, rows[is_best]), (False, rows[~is_best])):
            drawn = sorted(tuple(line.get_ydata()) for line in curves(axes, is_strong))
            assert np.allclose(drawn, sorted(tuple(thin(several.histories[run])["loss"]) for run in some["run"]))
        alphas = {is_strong: {line.get_alpha() for line in curves(axes, is_strong)} for is_strong in (True, False)}
        assert alphas[True] == {None}
        assert max(alphas[False]) < 0.5


def test_seeds_look_alike(several):
    for axes in panels(training_curves(several)).values():
        looks = {(line.get_color(), line.get_linestyle(), line.get_linewidth()) for line in curves(axes, True)}
        assert len(curves(axes, True)) == 2
        assert len(looks) == 1


def test_every_other_panel_has_the_curve_of_the_best_arm(several):
    (best,) = [one.arm for one in several.bests if one.is_reference]
    for name, axes in panels(training_curves(several)).items():
        dotted = [line for line in axes.lines if line.get_linestyle() != "-" and len(line.get_xdata())]
        assert len(dotted) == (0 if name.startswith(f"{best.precision} r{best.rank}\n") else 1)


@pytest.mark.parametrize("size", [BROAD, NARROW])
def test_forty_runs_have_names_that_cover_no_other_and_no_strong_curve(forty, size):
    figure = training_curves(forty, size)
    figure.canvas.draw()
    found = panels(figure)
    assert len(found) == 20
    assert "nf4 r64\nalpha 2r" in found
    boxes = [axes.texts[0].get_window_extent() for axes in found.values()]
    assert not [1 for place, one in enumerate(boxes) for other in boxes[:place] if one.overlaps(other)]
    assert figure.legends[0].get_window_extent().x1 <= figure.bbox.x1
    for box, axes in zip(boxes, found.values(), strict=True):
        assert box.x0 >= axes.bbox.x0
        for line in curves(axes, True):
            assert not any(box.contains(*place) for place in axes.transData.transform(line.get_xydata()))
    assert is_broad("training_curves", forty)


def test_a_rate_that_went_far_off_flattens_no_other(several):
    histories = dict(several.histories)
    (one, *_) = several.table.loc[several.table["learning_rate"] == 4e-3, "run"]
    histories[one] = histories[one].assign(loss=histories[one]["loss"] * 1e6)
    figure = training_curves(Drawn(several.table, histories, {}, several.losses))
    assert figure.axes[0].get_ylim()[1] < 5


def test_a_run_that_was_cut_off_has_a_cross_at_its_end():
    table = pages.summary()
    lengths = {"ok": 300, "over_time": 150, "diverged": 90, "oom": 0}
    results = Drawn(table, {row.run: pages.history(lengths[row.status], 0.8) for row in table.itertuples()})
    crosses = [line for axes in training_curves(results).axes for line in axes.lines if line.get_marker() == "X"]
    assert sorted(line.get_xdata()[0] for line in crosses) == [90, 90, 150, 150]
