"""Arms at the best of their learning rates: which that is, whether it is bracketed, and what a figure gets of it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tuned_studies
from frontier.results import contrasts, tuning, uncertainty
from frontier.results.arms import lines
from frontier.results.configurations import Configuration
from frontier.results.contrasts import contrast
from tables import curve, results, row
from tuned_tables import FALLING, LEVEL, RATES, ranked, tried

ARM = Configuration("nf4", 8)
DIVERGED = {"status": "diverged", "peak_memory_gib": None, "train_seconds": None}


def tuned(rows: list[dict], noise: float = 0.02) -> tuning.Tuned:
    return results(rows, noise=noise).tuned


def test_arms_that_want_the_same_rate_are_one_line():
    arms = [tuned(ranked({rank: 8e-3}, {rank: 3.0})).arms[Configuration("nf4", rank)] for rank in (8, 16, 32, 64)]
    tail = "are best at the highest rate tried, 8e-3: add 0.016 to learning_rate"
    assert lines(arms[:2]) == [f"nf4 rank 8; nf4 rank 16 {tail}"]
    assert lines(arms) == [f"4 arms, nf4 rank 8 among them, {tail}"]
    assert lines([]) == []


@pytest.mark.parametrize(
    ("best", "edge", "line"),
    [
        (2e-3, None, None),
        (8e-3, "highest", "nf4 rank 8 is best at the highest rate tried, 8e-3: add 0.016 to learning_rate"),
        (5e-4, "lowest", "nf4 rank 8 is best at the lowest rate tried, 5e-4: add 2.5e-4 to learning_rate"),
    ],
)
def test_an_arm_knows_its_best_rate_and_which_would_bracket_it(best, edge, line):
    one = tuned(tried("nf4", 8, 3.0, best)).arms[ARM]
    assert (one.best, one.edge, lines([one])) == (best, edge, [line] if line else [])
    assert one.at_best == Configuration("nf4", 8, best)
    assert list(one.losses) == list(RATES)
    assert one.losses[best] == pytest.approx(math.log(3.0))


def test_the_step_is_that_of_the_last_two_rates():
    one = tuned(tried("nf4", 8, 3.0, 9e-3, rates=(1e-3, 3e-3, 9e-3))).arms[ARM]
    assert one.rate_to_add == 0.027


def test_a_rate_that_diverged_brackets_as_a_worse_one_does():
    rows = tried("nf4", 8, 3.0, 8e-3)
    beyond = row("nf4", 8, 0, None, run="beyond", learning_rate=1.6e-2, **DIVERGED)
    assert tuned(rows).arms[ARM].edge == "highest"
    one = tuned([*rows, beyond]).arms[ARM]
    assert (one.edge, one.tried[-1]) == (None, 1.6e-2)
    assert tuned([*rows, beyond | {"status": "oom"}]).arms[ARM].edge == "highest"


def test_an_arm_of_one_rate_beside_others_of_several_is_not_tuned():
    one = tuned(tried("nf4", 8, 3.0, 2e-3, rates=(1e-3,)) + tried("nf4", 16, 3.0, 2e-3)).arms[ARM]
    assert (one.edge, one.rate_to_add) == ("only", 5e-4)
    assert lines([one])[0].startswith("nf4 rank 8 was tried at one learning rate alone, 1e-3")
    # Where every arm has the same one rate there is nothing to add.
    assert tuned(ranked({8: 1e-3, 16: 1e-3}, LEVEL, rates=(1e-3,))).lines() == []


def test_rates_not_told_apart_from_the_best_are_its_level():
    assert tuned(tried("nf4", 8, 3.0, 2e-3)).level_with_best(ARM) == [2e-3]
    assert tuned(tried("nf4", 8, 3.0, 2e-3, steep=0.01), noise=0.1).level_with_best(ARM) == [1e-3, 2e-3, 4e-3]
    assert tuned(curve("nf4", {8: 3.0})).level_with_best(ARM) == [None]


@pytest.mark.parametrize("shape", ["flat", "middling"])
def test_the_truly_best_rate_is_among_those_not_told_apart(shape):
    random, held = np.random.default_rng(3), []
    cell = tuned_studies.Cell((5, 5), 1, 100, 0, shape)
    for _ in range(200):
        losses, _ = tuned_studies.draw(random, 1, 5, cell, random.standard_normal((1, 100)))
        tokens = np.round(random.lognormal(4.5, 0.5, 100))
        nll = (losses[0, :, 0] * tokens).T
        columns = {Configuration("nf4", 8, float(rate)): {0: rate - 1} for rate in range(1, 6)}
        made = contrasts.Losses(nll, tokens, uncertainty.resample_losses(nll, tokens, 400), columns)
        held.append(3.0 in tuning.tuned(made).level_with_best(ARM))
    assert np.mean(held) >= 0.95


@pytest.mark.parametrize("column", [{}, {"learning_rate": 1e-3}])
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_with_one_rate_every_number_is_the_runs_own(column, seeds):
    """In a table with the column and in an old one without: no copy, so no last digit is another."""
    table = results(curve("nf4", FALLING, seeds=seeds, **column), bases={"nf4": 5.0})
    one = table.tuned.losses
    assert one.nll is table.losses.nll
    assert one.resampled is table.losses.resampled
    assert not one.picked
    assert one.columns == {configuration.arm: seeds for configuration, seeds in table.losses.columns.items()}
    rate = column.get("learning_rate")
    pair, arms = ({Configuration("nf4", 8, of): 1, Configuration("nf4", 16, of): -1} for of in (rate, None))
    assert contrast(one, arms) == contrast(table.losses, pair)


def test_an_arm_is_judged_at_the_seeds_of_its_best_rate():
    """Seed 1 was run at the best rate and its neighbours; of another arm at a rate that is not its best."""
    near = tried("nf4", 8, 3.01, 2e-3, rates=(1e-3, 2e-3, 4e-3), seeds=(1,))
    far = tried("nf4", 16, 2.9, 1e-3, rates=(4e-3,), seeds=(1,))
    rows = tried("nf4", 8, 3.0, 2e-3) + near + tried("nf4", 16, 2.9, 1e-3) + far
    one = tuned(rows)
    assert set(one.losses.columns[ARM]) == {0, 1}
    assert set(one.losses.columns[Configuration("nf4", 16)]) == {0}
    assert contrast(one.losses, {ARM: 1}).basis == "2 seeds"
    assert contrast(one.losses, {ARM: 1, Configuration("nf4", 16): -1}).basis == "this seed only"


def test_the_pick_widens_what_it_may_have_moved():
    """Rates that are nearly alike: which is best is partly noise, and the arm's interval allows for that."""
    one = tuned(tried("nf4", 8, 3.0, 2e-3, steep=0.01) + tried("nf4", 16, 3.0, 2e-3, steep=0.1), noise=0.3)
    assert one.losses.picked[ARM] > 0
    assert one.losses.picked[Configuration("nf4", 16)] == 0
    plain = contrast(replace(one.losses, picked={}), {ARM: 1})
    found = contrast(one.losses, {ARM: 1})
    assert found.estimate == plain.estimate
    assert found.high - found.low > plain.high - plain.low


def test_what_a_figure_gets_of_each_arm():
    found = tuning.standings(tuned(ranked({8: 8e-3, 16: 2e-3, 32: 1e-3}, FALLING)))
    best, first = found[Configuration("nf4", 32)], found[ARM]
    assert (best.best_rate, best.behind, best.edge, best.level) == (1e-3, None, None, [1e-3])
    assert (first.best_rate, first.edge) == (8e-3, "highest")
    assert first.loss.estimate == pytest.approx(math.log(4.0), abs=1e-6)
    assert first.behind.estimate == pytest.approx(math.log(4.0 / 3.1), abs=1e-6)
    assert first.behind.low < first.behind.estimate < first.behind.high
    assert list(first.rates) == list(RATES)
    assert min(first.rates, key=first.rates.get) == 8e-3
    assert tuning.standings(tuned([])) == {}
