"""The whole workflow on the tiny model, seen from outside: its files, its rows, its commands."""

import shutil
import subprocess

import pandas as pd
import pytest
from frontier import records
from frontier.study import embedded

RUNS = [f"{p}-r{r}-s0" for p in ("fp16", "nf4") for r in (2, 4, 8)]
MEASURED = (
    "perplexity eval_loss base_perplexity train_seconds load_seconds tokens_per_second peak_memory_gib peak_host_gib "
    "trainable_parameters train_tokens steps final_train_loss"
).split()


@pytest.fixture(scope="module")
def summary(finished_study):
    return pd.read_csv(finished_study.folder / "results/summary.csv")


def test_every_run_ends_as_a_row(summary):
    assert list(summary["run"]) == RUNS
    assert set(summary["status"]) == {"ok"}
    assert (summary[MEASURED] > 0).all(axis=None)
    assert set(summary["memory_metric"]) == {"host_rss"}
    assert summary[["peak_allocated_gib", "peak_reserved_gib", "peak_device_gib", "reason"]].isna().all(axis=None)
    assert (summary["perplexity"] < summary["base_perplexity"]).all()
    assert summary.groupby("precision")["base_perplexity"].nunique().eq(1).all()


def test_summary_says_what_the_records_say(finished_study, summary):
    for row in summary.itertuples():
        folder = finished_study.folder / "results/runs" / row.run
        training, evaluation = (records.read_json(folder / f"{name}.json") for name in ("training", "evaluation"))
        assert row.perplexity == pytest.approx(evaluation["outcome"]["perplexity"])
        assert row.train_seconds == pytest.approx(training["outcome"]["train_seconds"])
        losses = pd.read_parquet(folder / "nll.parquet")
        assert row.eval_loss == pytest.approx(losses["nll"].sum() / losses["tokens"].sum())
        assert len(pd.read_csv(folder / "history.csv")) == row.steps
        assert (folder / "adapter/adapter_config.json").is_file()


def test_figures_are_drawn(finished_study):
    for name in ("perplexity_memory", "memory_time", "perplexity_time", "perplexity_rank"):
        for kind, start in (("png", b"\x89PNG"), ("svg", b"<?xml")):
            content = (finished_study.folder / f"results/figures/{name}.{kind}").read_bytes()
            assert content.startswith(start)
            assert len(content) > 5000


def test_dag_is_a_graph_that_dot_takes(finished_study):
    done = finished_study.snakemake("--dag")
    assert done.stdout.startswith("digraph")
    if not shutil.which("dot"):
        pytest.skip("graphviz is not installed: dot draws nothing")
    drawn = subprocess.run(["dot", "-Tsvg"], input=done.stdout, capture_output=True, text=True)
    assert "<svg" in drawn.stdout


def test_a_configuration_in_another_encoding_is_one_line_before_snakemake_reads_it(new_study):
    study = new_study()
    config = study.folder / "config" / "config.yaml"
    config.write_text(config.read_text("utf-8"), encoding="utf-16")
    refused = study.snakemake("-n")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("error: config: config/config.yaml is no text in UTF-8")
    assert "Traceback" not in refused.stderr


def test_lint_has_nothing_to_report(finished_study):
    assert "good condition" in finished_study.snakemake("--lint").stderr


def test_runs_off_the_grid_have_a_plan_of_their_own(finished_study):
    plan = finished_study.plan("results/runs/nf4-r24-s3/evaluation.json")
    assert plan == {"train_adapter": ["nf4-r24-s3"], "evaluate_adapter": ["nf4-r24-s3"]}
    refused = finished_study.snakemake("-n", "results/runs/nf5-r24-s3/evaluation.json")
    assert refused.returncode != 0


def test_architecture_has_cost_and_no_quality(new_study, tiny_model, monkeypatch):
    """Random weights by a configuration alone: time and memory, and empty quality, never a number."""
    import tiny

    study = new_study(precisions=["fp16"], ranks=[2], steps=2)
    source = {"source": "architecture", "config": tiny.CONFIG}
    study.configure(model=None)
    study.configure(model=source)
    # The tokenizer that such a model borrows is the embedded one's; here the tiny one stands in its place.
    shared = study.folder / "resources/cache/models" / records.digest(embedded.EMBEDDED_MODEL)[:16]
    shutil.copytree(tiny_model, shared)
    study.run()
    (row,) = pd.read_csv(study.folder / "results/summary.csv").to_dict("records")
    assert row["status"] == "ok"
    assert row["train_seconds"] > 0
    assert pd.isna([row["perplexity"], row["eval_loss"], row["base_perplexity"]]).all()
