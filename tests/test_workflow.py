"""The whole workflow on the tiny model, seen from outside: its files and its plans."""

import pandas as pd


def test_every_run_ends_as_a_row(finished_study):
    summary = pd.read_csv(finished_study.folder / "results/summary.csv")
    assert list(summary["run"]) == [f"{p}-r{r}-s0" for p in ("fp16", "nf4") for r in (2, 4, 8)]
    assert set(summary["status"]) == {"ok"}
