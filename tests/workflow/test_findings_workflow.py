"""The findings of a finished study, seen from outside: its files, and what an edit makes again."""

import json

import pandas as pd
from frontier.results import columns
from frontier.results.claims.claim import VERDICTS


def test_the_study_ends_in_its_claims_and_a_page(finished_study):
    results = finished_study.folder / "results"
    claims = json.loads((results / "findings.json").read_text("utf-8"))
    runs = set(pd.read_csv(results / "summary.csv")["run"])
    assert len({one["id"] for one in claims}) == len(claims)
    assert [one["part"] for one in claims].count("study") == 21
    for one in claims:
        assert one["verdict"] in VERDICTS
        assert set(one["evidence"]["runs"]) <= runs
    by_id = {one["id"]: one for one in claims}
    assert by_id["fp16_exceeds_budget"]["verdict"] == "not_measured"
    assert by_id["training_helped"]["verdict"] != "not_measured"
    assert by_id["recommendation"]["evidence"]["values"]["run"] in runs
    page = (results / "findings.md").read_text("utf-8")
    assert all(one["sentence"] in page for one in claims)


def test_the_summary_judges_its_rows(finished_study):
    summary = pd.read_csv(finished_study.folder / "results/summary.csv")
    assert list(summary) == list(columns.SUMMARY)
    assert (summary["perplexity_low"] < summary["perplexity"]).all()
    assert (summary["perplexity"] < summary["perplexity_high"]).all()
    assert summary["pareto"].any()
    assert summary["fits"].isna().all()


def test_limits_cost_no_training(finished_study):
    limits = ["--config", "budget={memory_gib: 6}", "recommend={max_perplexity: 9}"]
    planned = finished_study.plan(*limits)
    assert set(planned) >= {"summarize_runs", "state_findings"}
    assert not set(planned) & {"train_adapter", "evaluate_adapter", "evaluate_base"}
