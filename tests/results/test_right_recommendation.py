"""The recommendation held against studies whose truth is known: benchmarks/measure_recommendation.py, in small."""

import measure_recommendation
import numpy as np
import pytest
from measure_recommendation import Cell


@pytest.mark.parametrize("seeds", [1, 2, 3])
@pytest.mark.parametrize(("truth", "examples"), [("flat", 44), ("steep", 44), ("steep", 500), ("harmful", 44)])
def test_the_choice_is_the_best_or_cheaper_and_not_told_apart(truth, examples, seeds):
    found = measure_recommendation.measure(Cell(examples, seeds, 3, truth), studies=20, seed=1)
    assert found.good >= 0.9
    assert found.wrong <= 0.05
    # Below a hundred examples, and with one seed, nothing is supported.
    assert found.supported == 0 or (examples > 100 and seeds > 1)


@pytest.mark.parametrize(("seeds", "configurations"), [(2, 8), (3, 3)])
def test_some_seeds_of_five_hundred_examples_settle_a_steep_truth(seeds, configurations):
    """What holds back everything would never be wrong either; two seeds of eight ranks tell as much."""
    found = measure_recommendation.measure(Cell(500, seeds, configurations, "steep"), studies=20, seed=2)
    assert found.supported > 0.5


@pytest.mark.parametrize("truth", ["useless", "harmful"])
def test_training_that_gained_nothing_is_not_recommended(truth):
    found = measure_recommendation.measure(Cell(500, 2, 3, truth), studies=20, seed=3)
    assert found.recommends_training <= 0.05
    assert found.supported == 0


def test_the_measure_finds_a_bad_choice_wanting():
    """A choice of the truly worst is neither good nor, were it supported, right."""
    cell = Cell(500, 3, 3, "steep")
    truth = measure_recommendation.true_losses(cell)
    results = measure_recommendation.draw(np.random.default_rng(0), cell, truth)
    assert measure_recommendation.judge(cell, truth, results).good
    # The same study, of which the second is truly the worst, by 2% of the first.
    turned = measure_recommendation.judge(cell, truth[[1, 0, 2]], results)
    assert (turned.good, turned.supported, turned.wrong) == (False, True, True)
