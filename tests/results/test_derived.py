"""The summary's columns that judge a row: its interval, its base, the budget."""

import math

import numpy as np
import pandas as pd
from frontier.results import contrasts, derived
from tables import HOUR, row, run_losses


def table(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(rows)


def test_the_interval_of_a_perplexity_is_the_bootstraps():
    frame = table(row("nf4", 8, 0, 3.0), row("nf4", 16, 0, None, status="oom"))
    losses = {"nf4-r8-s0": run_losses(3.0, 0.1, 0), "nf4-r16-s0": run_losses(3.0, 0.1, 0)[:0]}
    bounds = derived.perplexity_bounds(frame, contrasts.gather(frame, losses, {}))
    nll, tokens = losses["nf4-r8-s0"]["nll"], losses["nf4-r8-s0"]["tokens"]
    error = ((nll - math.log(3) * tokens) / tokens.mean()).std() / math.sqrt(len(nll))
    assert np.allclose(np.log(bounds.loc[0]), [math.log(3) - 1.96 * error, math.log(3) + 1.96 * error], atol=0.004)
    assert bounds.loc[1].isna().all()


def test_a_run_is_held_against_its_own_base():
    rows = [row("nf4", 8, 0, 3.0), row("nf4", 16, 0, 7.0), row("nf4", 32, 0, 5.01), row("fp16", 8, 0, 6.0)]
    rows += [row("bf16", 8, 0, 3.0), row("nf4", 64, 0, None, status="diverged")]
    runs = {one["run"]: run_losses(one["perplexity"] or 1.0, 0.1, key) for key, one in enumerate(rows)}
    bases = {"nf4": run_losses(5.0, 0.1, 1000), "fp16": run_losses(4.0, 0.1, 1001)}
    frame = table(*rows)
    judged = derived.against_base(frame, contrasts.gather(frame, runs, bases, draws=500))
    assert list(judged) == ["better", "worse", "not told apart", "worse", None, None]


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
    bases = {"nf4": run_losses(5.0, 0.1, 1)}
    judged = derived.with_derived_columns(frame, losses, {"memory_gib": None, "hours": None}, bases)
    columns = list(judged.columns)
    assert columns[columns.index("perplexity") :][:3] == ["perplexity", "perplexity_low", "perplexity_high"]
    lines = judged[["run", "against_base", "pareto", "beaten_by", "fits"]].to_csv(index=False).split()
    assert lines == ["run,against_base,pareto,beaten_by,fits", "nf4-r8-s0,better,True,,", "nf4-r16-s0,,,,"]
