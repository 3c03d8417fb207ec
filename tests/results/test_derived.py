"""The summary's columns that judge a row: its interval, the frontier, the budget."""

import math

import numpy as np
import pandas as pd
from frontier.results import derived
from tables import HOUR, row, run_losses


def table(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(rows)


def test_the_interval_of_a_perplexity_is_the_bootstraps():
    frame = table(row("nf4", 8, 0, 3.0), row("nf4", 16, 0, None, status="oom"))
    losses = {"nf4-r8-s0": run_losses(3.0, 0.1, 0), "nf4-r16-s0": run_losses(3.0, 0.1, 0)[:0]}
    bounds = derived.perplexity_bounds(frame, losses)
    nll, tokens = losses["nf4-r8-s0"]["nll"], losses["nf4-r8-s0"]["tokens"]
    error = ((nll - math.log(3) * tokens) / tokens.mean()).std() / math.sqrt(len(nll))
    assert np.allclose(np.log(bounds.loc[0]), [math.log(3) - 1.96 * error, math.log(3) + 1.96 * error], atol=0.004)
    assert bounds.loc[1].isna().all()


def test_a_run_is_on_the_frontier_unless_another_beats_it():
    frame = table(
        row("fp16", 8, 0, 3.0, peak_memory_gib=9.0),
        row("nf4", 8, 0, 3.5, peak_memory_gib=5.0),
        row("nf4", 16, 0, 3.6, peak_memory_gib=5.0),
        row("nf4", 32, 0, 3.6, peak_memory_gib=6.0, train_seconds=1.0),
    )
    assert list(derived.pareto(frame)) == [True, True, False, True]


def test_equal_runs_share_the_frontier():
    assert list(derived.pareto(table(row("nf4", 8, 0, 3.0), row("nf4", 8, 1, 3.0)))) == [True, True]


def test_runs_of_unlike_devices_or_metrics_do_not_compete():
    better = {"peak_memory_gib": 1.0, "train_seconds": 1.0}
    for unlike in ({"device": "another"}, {"memory_metric": "host_rss"}):
        frame = table(row("nf4", 8, 0, 3.0), row("nf4", 16, 0, 2.0, **better, **unlike))
        assert list(derived.pareto(frame)) == [True, True]


def test_what_is_not_measured_or_not_ok_is_on_no_frontier():
    frame = table(row("nf4", 8, 0, 3.0), row("nf4", 16, 0, None), row("nf4", 32, 0, 2.0, status="spilled"))
    assert list(derived.pareto(frame).isna()) == [False, True, True]


def test_a_run_fits_when_it_keeps_every_limit():
    frame = table(
        row("nf4", 8, 0, 3.0),
        row("nf4", 16, 0, 3.0, peak_memory_gib=6.5),
        row("nf4", 32, 0, 3.0, train_seconds=13 * HOUR),
        row("fp16", 8, 0, None, status="oom", peak_memory_gib=None, train_seconds=None),
        row("fp16", 16, 0, None, train_seconds=None),
        row("fp16", 32, 0, None, peak_memory_gib=7.0, train_seconds=None),
    )
    fits = derived.fits(frame, {"memory_gib": 6, "hours": 12})
    assert [None if one is pd.NA else bool(one) for one in fits] == [True, False, False, False, None, False]
    assert derived.fits(frame, {"memory_gib": None, "hours": None}).isna().all()
    assert derived.fits(frame, {"memory_gib": None, "hours": 12})[1]


def test_memory_is_held_against_a_limit_with_all_that_the_process_had():
    """The tensors of both fit; on a card of 6 GiB the context of one has no room beside them."""
    frame = table(row("nf4", 8, 0, 3.0, peak_held_gib=5.9), row("nf4", 16, 0, 3.0, peak_held_gib=6.1))
    assert list(derived.fits(frame, {"memory_gib": 6, "hours": None})) == [True, False]


def test_the_columns_stand_beside_what_they_judge_and_read_back():
    frame = table(row("nf4", 8, 0, 3.0), row("nf4", 16, 0, None, status="oom", peak_memory_gib=None))
    losses = {"nf4-r8-s0": run_losses(3.0, 0.1, 0), "nf4-r16-s0": run_losses(3.0, 0.1, 0)[:0]}
    judged = derived.with_derived_columns(frame, losses, {"memory_gib": None, "hours": None})
    columns = list(judged.columns)
    assert columns[columns.index("perplexity") :][:3] == ["perplexity", "perplexity_low", "perplexity_high"]
    lines = judged[["run", "pareto", "fits"]].to_csv(index=False).split()
    assert lines == ["run,pareto,fits", "nf4-r8-s0,True,", "nf4-r16-s0,,"]
