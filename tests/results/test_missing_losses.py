"""Losses that are missing or no numbers: none is left out of a mean in silence, and none spoils another run's."""

import math
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from frontier import records
from frontier.results import contrasts, derived, findings, status
from frontier.results.claims.claim import Evidence
from frontier.results.configurations import Configuration
from frontier.results.figures import curves
from frontier.results.figures.canvas import Drawn
from tables import NO_LIMITS, results, row, run_losses

ROWS = [row("fp16", 8, 0, 3.0), row("nf4", 8, 0, 3.5), row("nf4", 16, 0, 3.2), row("nf4", 32, 0, 3.1)]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_run_with_a_loss_that_is_no_number_spoils_no_other(value):
    """Its row may say that it was measured, as older ones did; zero times its losses would be no number either."""
    frames = {one["run"]: run_losses(one["perplexity"], 0.1, key) for key, one in enumerate(ROWS)}
    spoilt = run_losses(1.0, 0.1, 9)
    spoilt.loc[3, "nll"] = value
    table = pd.DataFrame([*ROWS, row("nf4", 64, 0, 1.0)])
    with np.errstate(invalid="raise"):
        losses = contrasts.gather(table, frames | {"nf4-r64-s0": spoilt}, {"fp4": spoilt}, draws=200)
        claims = findings.state(Evidence(table, losses, NO_LIMITS, NO_LIMITS | {"max_perplexity": None}))
    known = contrasts.gather(pd.DataFrame(ROWS), frames, {}, draws=200)
    assert set(losses.columns) == set(known.columns)
    pair = {Configuration("nf4", 8): 1, Configuration("fp16", 8): -1}
    assert contrasts.contrast(losses, pair) == contrasts.contrast(known, pair)
    recommended = next(one for one in claims if one["id"] == "recommendation")
    assert recommended["evidence"]["values"]["run"] == "fp16-r8-s0"


def test_an_end_of_an_interval_that_is_no_number_is_empty():
    """e to the power of 700 is a number of 64 bits, that of its interval's upper end none."""
    losses = pd.DataFrame({"nll": [640.0, 760.0] * 10, "tokens": [1] * 20})
    frame = pd.DataFrame([row("nf4", 8, 0, math.exp(700), eval_loss=700.0)])
    bounds = derived.perplexity_bounds(frame, contrasts.gather(frame, {"nf4-r8-s0": losses}, {}))
    assert math.isfinite(bounds.loc[0, "low"])
    assert math.isnan(bounds.loc[0, "high"])


@pytest.mark.parametrize("count", [20, 600])
def test_a_curve_has_a_gap_where_a_loss_is_missing(count):
    """In a short history and in one that is thinned, whose points are means."""
    history = pd.DataFrame({"step": range(count), "seconds": np.arange(count) / 2, "loss": np.linspace(3, 2, count)})
    history.loc[count // 2, "loss"] = None
    history.loc[count - 1, "loss"] = None
    table = pd.DataFrame([row("nf4", 8, 0, None, status="diverged")])
    figure = curves.training_curves(Drawn(table, {"nf4-r8-s0": history}))
    for axes in figure.axes:
        line, cross = axes.lines
        assert np.isnan(line.get_ydata()).sum() == 2
        assert cross.get_marker() == "X"
        assert cross.get_ydata()[0] == line.get_ydata()[-2]
    assert (curves.thin(history)["loss"].isna()).sum() == 2


def status_lines(folder) -> dict[str, str]:
    """What is said of each run of a study of the default configuration, by the run's name."""
    (folder / "config").mkdir(exist_ok=True)
    shutil.copy(ROOT / "config/config.yaml", folder / "config")
    *runs, _ = status.lines(folder)
    return {line.split()[0]: line for line in runs}


def test_a_status_line_tells_of_an_evaluation_that_diverged(tmp_path):
    records.write_json(tmp_path / "results/runs/nf4-r8-s0/training.json", {"outcome": {"status": "ok"}})
    assert "waiting     trained, to be judged" in status_lines(tmp_path)["nf4-r8-s0"]
    records.write_json(tmp_path / "results/runs/nf4-r8-s0/evaluation.json", {"outcome": {"status": "diverged"}})
    assert status_lines(tmp_path)["nf4-r8-s0"] == "nf4-r8-s0         diverged"


def test_status_lines_line_up_whatever_the_length_of_a_name(tmp_path):
    names = ("nf4-r8-s0", "nf4-r64-s0-lr5e-4-alpha2r-attention")
    for run in names:
        records.write_json(tmp_path / f"results/runs/{run}/training.json", {"outcome": {"status": "oom"}})
    lines = status_lines(tmp_path)
    assert len({lines[run].index(" oom") for run in names}) == 1


def test_every_verdict_is_the_same_with_and_without_a_diverged_run():
    diverged = row("nf4", 64, 0, None, status="diverged", peak_memory_gib=None, train_seconds=None)
    with_it, without = (findings.state(results(rows)) for rows in ([*ROWS, diverged], ROWS))
    assert [one["verdict"] for one in with_it] == [one["verdict"] for one in without]
    assert not any("nf4-r64-s0" in one["evidence"]["runs"] for one in with_it if one["verdict"] != "not_measured")
