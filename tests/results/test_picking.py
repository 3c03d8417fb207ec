"""A loss at the best of several rates whose interval holds the truth, however many were tried."""

import numpy as np
import pytest
import tuned_studies
from frontier.results import picking, uncertainty
from tuned_studies import USED, Cell

# Rates of the two arms, seeds, examples, the seeds' share and the shape of the optimum.
CELLS = [
    ((8, 1), 1, 100, 0.0, "flat"),
    ((5, 1), 1, 100, 0.0, "shallow"),
    ((3, 3), 1, 500, 0.0, "peaked"),
    ((8, 3), 1, 500, 0.0, "middling"),
    ((5, 5), 2, 100, 0.5, "middling"),
    ((8, 3), 2, 100, 0.9, "peaked"),
    ((8, 1), 3, 100, 0.9, "flat"),
    ((3, 3), 3, 100, 0.5, "middling"),
]


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_coverage(cell):
    one_arm, difference, _ = tuned_studies.measure([USED], Cell(*cell), studies=1_500, seed=4)[USED]
    assert 0.92 <= difference <= 0.975
    assert 0.92 <= one_arm <= 0.98


def test_picking_and_judging_on_the_same_examples_would_not_do():
    """The arm with eight tries is flattered beside the one with one."""
    ways = ["same examples", USED]
    held = tuned_studies.measure(ways, Cell((8, 1), 1, 100, 0.0, "flat"), studies=3_000, seed=4)
    assert held["same examples"][1] < 0.92 < held[USED][1]


def test_nor_would_judging_on_the_others_alone():
    """Whatever the truth, the parts disagree on the rate: no interval of theirs knows of it."""
    held = tuned_studies.measure(["5 parts", USED], Cell((8, 8), 1, 100, 0.0, "flat"), studies=1_500, seed=4)
    assert held["5 parts"][1] < 0.9 < held[USED][1]


def test_where_seeds_are_complete_a_rates_loss_is_the_mean_over_them():
    losses = np.random.default_rng(0).random((4, 3, 2))
    assert picking.rate_losses(losses, np.ones((3, 2), bool)) == pytest.approx(losses.mean(axis=2))


def test_unlike_seeds_are_told_from_unlike_rates():
    """A seed that is worse by 0.5 was run at two of three rates: it does not count against them."""
    there = np.array([[True, False], [True, True], [True, True]])
    losses = np.array([[1.2, 0], [1.1, 1.6], [1.3, 1.8]])
    assert picking.rate_losses(losses, there) == pytest.approx([1.45, 1.35, 1.55])
    # A rate that was not measured at all is never the best.
    assert picking.rate_losses(losses, there & [[True], [True], [False]])[2] == np.inf


def arm(*levels: float, seeds: int = 1, noise: float = 0.0, examples: int = 50) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    tokens = random.integers(20, 200, examples).astype(float)
    own = noise * random.standard_normal((len(levels), seeds, examples))
    return (np.array(levels)[:, None, None] + own) * tokens, tokens


def test_a_rate_that_all_parts_pick_is_judged_as_it_is():
    nll, tokens = arm(1.0, 1.3, 1.2, seeds=2, noise=0.01)
    one = picking.judge(nll, tokens, np.ones((3, 2), bool), 0)
    assert np.array_equal(one.nll, nll[0])
    assert one.error == 0


def test_rates_that_parts_disagree_on_give_the_pick_an_error():
    nll, tokens = arm(1.0, 1.0, noise=0.3)
    loss = nll[:, 0].sum(axis=1) / tokens.sum()
    one = picking.judge(nll, tokens, np.ones((2, 1), bool), loss.argmin())
    apart = 2 * (one.nll.sum() / tokens.sum() - loss.min())
    # A part of the five picks one of the two rates, so that the share of those that agree is in fifths.
    fifths = 5 * np.sqrt(one.error / apart / (4 / 5))
    assert fifths == pytest.approx(round(fifths))
    assert 0 < fifths < 5


def test_rates_are_judged_over_the_seeds_of_the_best_and_picked_among_those_that_have_them():
    nll, tokens = arm(1.0, 1.001, 0.9, seeds=2, noise=0.05)
    there = np.array([[True, True], [True, True], [True, False]])
    assert picking.judge(nll, tokens, there, 0).nll.shape == (2, 50)
    assert picking.judge(nll, tokens, there, 2).nll.shape == (1, 50)
    kept = picking.judge(nll, tokens, there, 0).nll
    either = [np.isclose(kept, nll[first] / 2 + nll[second] / 2) for first, second in ((0, 0), (0, 1))]
    assert np.logical_or(*either).all()


def test_one_example_is_judged_as_it_is():
    nll, tokens = arm(1.0, 1.1, examples=1)
    assert picking.judge(nll, tokens, np.ones((2, 1), bool), 0).error == 0


def test_a_further_error_widens_an_interval_as_squares_add():
    one = uncertainty.Interval(1.0, 0.7, 1.3, 0.15, "this seed only")
    wider = uncertainty.with_error(one, 0.4 / 1.959964)
    assert (wider.low, wider.high) == pytest.approx((0.5, 1.5))
    assert wider.standard_error == pytest.approx(np.hypot(0.15, 0.4 / 1.959964))
    assert uncertainty.with_error(one, 0.0).low == pytest.approx(0.7)
