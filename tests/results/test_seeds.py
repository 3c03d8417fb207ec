"""What another seed would do, from the seeds of all configurations: plain formulas where they exist, and coverage."""

import numpy as np
import pytest
from frontier.results import contrasts
from frontier.results.configurations import Configuration
from frontier.results.contrasts import contrast
from frontier.results.seeds import moderated, seed_spread
from scipy import stats

RANDOM = np.random.default_rng


def by_seed(values: np.ndarray) -> dict[int, dict[int, float]]:
    return {one: dict(enumerate(losses)) for one, losses in enumerate(values)}


def drawn(random, spreads: np.ndarray, seeds: int, common: float) -> np.ndarray:
    """Losses of configurations, each with its own spread over seeds, and what a seed does to all alike."""
    own = spreads[:, None] * random.standard_normal((len(spreads), seeds))
    return own + common * random.standard_normal(seeds)


def test_alike_configurations_share_the_mean_square_of_a_two_way_layout():
    values = np.array([[1.0, 1.3, 1.1], [2.0, 2.2, 2.4], [1.5, 1.9, 1.6], [1.2, 1.4, 1.5]])
    rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    square = (rest**2).sum() / 6
    found = seed_spread(by_seed(values))
    assert found.own[0] == pytest.approx((square, 6))
    assert found.common == pytest.approx(values.mean(axis=0).var(ddof=1) - square / 4)
    assert found.common_freedom == 2


def test_what_a_seed_does_to_all_is_no_spread_of_their_differences():
    values = drawn(RANDOM(0), np.full(5, 0.01), 2, 0.0)
    shifted = seed_spread(by_seed(values + np.array([0.0, 3.0])))
    assert shifted.own[2] == pytest.approx(seed_spread(by_seed(values)).own[2])
    assert shifted.common == pytest.approx(4.5, rel=0.02)


def test_runs_that_are_missing_are_fitted_around():
    """Residuals and degrees of freedom against a plain least-squares fit of all effects."""
    values = drawn(RANDOM(1), np.ones(6), 3, 1.0)
    values[0, 2] = values[1, 0] = values[4, 1] = np.nan
    losses = {one: {k: x for k, x in enumerate(row) if np.isfinite(x)} for one, row in enumerate(values)}
    losses[9] = {0: 7.0}
    rows, seeds = np.nonzero(np.isfinite(values))
    design = np.hstack([np.eye(6)[rows], np.eye(3)[seeds]])
    fitted, *_ = np.linalg.lstsq(design, values[rows, seeds], rcond=None)
    rest = values[rows, seeds] - design @ fitted
    found = seed_spread(losses)
    assert 9 not in found.own
    freedoms = [freedom for _, freedom in found.own.values()]
    assert freedoms == pytest.approx([len(rest) - np.linalg.matrix_rank(design)] * 6)
    assert found.own[3][0] == pytest.approx((rest**2).sum() / freedoms[0])


@pytest.mark.parametrize(
    "losses",
    [
        {},
        {0: {0: 1.0}, 1: {0: 1.1}},
        {0: {0: 1.0, 1: 1.1}},
        {0: {0: 1.0, 1: 1.1}, 1: {0: 1.2}},
        {0: {0: 1.0, 1: 1.1}, 1: {1: 1.2, 2: 1.3}},
    ],
    ids=["none", "one seed", "one configuration", "one repeated", "no two seeds in common"],
)
def test_nothing_is_told_where_no_two_configurations_share_two_seeds(losses):
    assert seed_spread(losses) is None


def test_seeds_that_agree_to_the_last_digit_leave_no_spread():
    found = seed_spread(by_seed(np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])))
    assert found.common == 0
    assert {variance for variance, _ in found.own.values()} == {0}


def test_variances_that_truly_differ_keep_more_of_their_own():
    """Of one spread they are pooled; of very unlike ones each is drawn only a little towards the others."""
    random, freedom = RANDOM(2), np.full(40, 4.0)
    alike = random.chisquare(4, 40)
    variances, freedoms = moderated(alike, freedom)
    assert variances == pytest.approx(np.full(40, alike.sum() / 160), rel=0.35)
    assert freedoms.min() > 20
    truth = np.exp(3 * random.standard_normal(40))
    own = truth * random.chisquare(4, 40)
    variances, freedoms = moderated(own, freedom)
    assert np.corrcoef(np.log(variances), np.log(own))[0, 1] > 0.97
    assert (freedoms < 8).all()


@pytest.mark.parametrize("unlike", [0.0, 0.5])
@pytest.mark.parametrize(("configurations", "seeds"), [(2, 2), (3, 2), (6, 2), (24, 2), (6, 3)])
def test_coverage(configurations, seeds, unlike):
    """Of the difference of two configurations whose truths are equal, where seeds are all that is uncertain."""
    random, held = RANDOM([configurations, seeds]), []
    for _ in range(1_500):
        spreads = np.exp(unlike * random.standard_normal(configurations))
        values = drawn(random, spreads, seeds, 2.0)
        own = seed_spread(by_seed(values)).own
        variance = (own[0][0] + own[1][0]) / seeds
        reach = stats.t.ppf(0.975, min(own[0][1], own[1][1])) * np.sqrt(variance)
        held.append(abs(values[0].mean() - values[1].mean()) < reach)
    assert 0.92 <= np.mean(held) <= 0.97


def test_two_seeds_of_six_configurations_tell_apart_what_two_seeds_of_two_do_not():
    """The same four runs, alone and beside eight others: the interval of their difference narrows."""
    random, tokens = RANDOM(5), np.full(200, 100.0)
    levels = drawn(random, np.full(6, 0.003), 2, 0.002) + 0.01 * np.arange(6)[:, None] + 0.65
    shared = 0.3 * random.standard_normal(200)
    nll = np.stack([(level + shared) * tokens for level in levels.ravel()], axis=1)
    columns = {Configuration("nf4", 2**k): {0: 2 * k, 1: 2 * k + 1} for k in range(6)}
    pair = {Configuration("nf4", 1): 1, Configuration("nf4", 2): -1}

    def reach(count: int) -> float:
        some = dict(list(columns.items())[:count])
        losses = contrasts.with_seeds(contrasts.Losses(nll[:, : 2 * count], tokens, np.empty((1, 2 * count)), some))
        one = contrast(losses, pair)
        return one.high - one.estimate

    assert reach(6) < reach(2) / 2
