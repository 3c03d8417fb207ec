"""Intervals that hold the truth as often as they say, and arithmetic against plain formulas."""

import measure_coverage
import numpy as np
import pytest
from frontier.results import uncertainty


@pytest.mark.parametrize("kind", measure_coverage.KINDS)
@pytest.mark.parametrize(
    ("seeds", "examples", "share"),
    [
        (1, 100, 0),
        (1, 1319, 0),
        (2, 400, 0.7),
        (3, 400, 0.7),
        (5, 400, 0.7),
        (2, 400, 0.9),
        (3, 400, 0.9),
        (5, 400, 0.9),
    ],
)
def test_coverage(kind, seeds, examples, share):
    held = measure_coverage.measure(kind, seeds, examples, share, studies=3_000, draws=1_000, seed=4)
    assert 0.92 <= held <= 0.97


def test_a_bootstrap_over_seeds_and_examples_would_not_do():
    # The measure must be able to find an interval wanting.
    assert measure_coverage.measure_crossed("one run", 2, 400, 0.9, studies=1_000, draws=500) < 0.8


def test_the_bootstrap_is_seeded_and_pairs_runs():
    random = np.random.default_rng(0)
    tokens = random.integers(20, 200, 60).astype(float)
    first = tokens * random.lognormal(0, 0.5, 60)
    nll = np.column_stack([first, first + 0.25 * tokens])
    resampled = uncertainty.resample_losses(nll, tokens, draws=1_200)
    assert np.array_equal(resampled, uncertainty.resample_losses(nll, tokens, draws=1_200))
    assert not np.array_equal(resampled, uncertainty.resample_losses(nll, tokens, draws=1_200, seed=1))
    assert resampled.shape == (1_200, 2)
    # A constant difference is the same in every draw, however the runs themselves move.
    assert resampled[:, 1] - resampled[:, 0] == pytest.approx(0.25)
    assert resampled[:, 0].std() > 0.01


def test_the_bootstrap_of_a_ratio_agrees_with_its_linearisation():
    random = np.random.default_rng(1)
    tokens = random.integers(20, 200, 500).astype(float)
    nll = tokens * random.lognormal(0, 0.3, 500)
    loss = nll.sum() / tokens.sum()
    error = ((nll - loss * tokens) / tokens.mean()).std(ddof=1) / np.sqrt(500)
    interval = uncertainty.over_examples(loss, uncertainty.resample_losses(nll[:, None], tokens)[:, 0])
    assert interval.standard_error == pytest.approx(error, rel=0.05)
    assert interval.low == pytest.approx(loss - 1.96 * error, rel=0.01)
    assert interval.high == pytest.approx(loss + 1.96 * error, rel=0.01)


def test_seeds_that_agree_leave_the_examples_variance_alone():
    random = np.random.default_rng(2)
    tokens = random.integers(20, 200, 400).astype(float)
    nll = tokens * random.lognormal(0, 0.3, 400)
    loss = nll.sum() / tokens.sum()
    error = ((nll - loss * tokens) / tokens.mean()).std(ddof=1) / np.sqrt(400)
    interval = uncertainty.over_seeds(np.stack([nll, nll, nll]), tokens)
    assert interval.standard_error == pytest.approx(error)
    assert interval.high - interval.estimate == pytest.approx(1.966 * error, rel=1e-3)


def test_examples_that_agree_leave_students_t_over_the_seeds():
    tokens = np.full(50, 100.0)
    nll = np.array([[1.0], [1.1], [1.3]]) * tokens
    interval = uncertainty.over_seeds(nll, tokens)
    half = 4.3027 * np.std([1.0, 1.1, 1.3], ddof=1) / np.sqrt(3)
    assert interval.estimate == pytest.approx(1.1333, abs=1e-4)
    assert interval.low == pytest.approx(interval.estimate - half, rel=1e-4)
    assert interval.high == pytest.approx(interval.estimate + half, rel=1e-4)


def test_runs_that_are_the_same_differ_by_nothing():
    interval = uncertainty.over_seeds(np.zeros((2, 10)), np.full(10, 5.0))
    assert (interval.low, interval.estimate, interval.high) == (0, 0, 0)
