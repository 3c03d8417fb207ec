"""Summaries of several folders as one table: what is put together, what is said of it, what is refused."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import Study
from frontier import records
from frontier.errors import UserError
from frontier.results import configurations, merge

RUN = "results/runs/nf4-r4-s0"


@pytest.fixture
def pair(finished_study, tmp_path) -> tuple[Study, Study]:
    """A finished study, and the same one as if another machine had made it."""
    studies = []
    for name in ("here", "there"):
        shutil.copytree(finished_study.folder, tmp_path / name, symlinks=True)
        studies.append(Study(tmp_path / name))
    for path in (tmp_path / "there/results/runs").glob("*/training.json"):
        edit(path, lambda record: record["environment"].update(host="there", device="a card"))
    summary = tmp_path / "there/results/summary.csv"
    pd.read_csv(summary).assign(host="there", device="a card").to_csv(summary, index=False)
    studies[0].configure(merge=[".", str(tmp_path / "there")])
    return tuple(studies)


def edit(path: Path, change) -> None:
    record = records.read_json(path)
    change(record)
    records.write_json(path, record)


def test_merged_table_has_every_row_and_says_what_is_unlike(pair):
    here, there = pair
    edit(there.folder / RUN / "training.json", lambda record: record["request"]["training"].update(weight_decay=0.5))
    here.run("results/merged.csv")
    merged = pd.read_csv(here.folder / "results/merged.csv")
    summary = pd.read_csv(here.folder / "results/summary.csv")
    assert list(merged["folder"]) == ["."] * 6 + [str(there.folder)] * 6
    assert list(merged["run"]) == [*summary["run"], *summary["run"]]
    assert list(merged["perplexity"]) == [*summary["perplexity"], *summary["perplexity"]]
    host = summary["host"][0]
    told = merged.loc[merged["folder"] != ".", "notes"]
    assert all(f"host there, not {host}" in note and "device a card, not " in note for note in told)
    assert list(merged.loc[merged["notes"].fillna("").str.contains("training.weight_decay 0.5"), "run"]) == [RUN[13:]]
    # On each device the frontier is its own, so both folders have one.
    assert merged[merged["pareto"]].groupby("folder").size().gt(0).all()
    assert len(merged[merged["pareto"]]["folder"].unique()) == 2


@pytest.mark.parametrize(
    ("file", "change", "named"),
    [
        ("training", lambda record: record["material"]["data"]["examples"]["files"].update(train="0" * 64), "data"),
        ("training", lambda record: record["material"]["data"]["request"].update(max_length=7), "data"),
        ("training", lambda record: record["material"]["model"].update(digest="0" * 64), "model"),
        ("training", lambda record: record.update(code="0" * 64), "training code"),
        ("training", lambda record: record.pop("code"), "training code"),
        ("evaluation", lambda record: record.update(code="0" * 64), "evaluation code"),
    ],
    ids="data template model code none evaluation".split(),
)
def test_rows_of_other_material_are_refused_by_name(pair, file, change, named):
    here, there = pair
    edit(there.folder / RUN / f"{file}.json", change)
    with pytest.raises(UserError) as refusal:
        merge.merge([str(here.folder), str(there.folder)])
    assert str(refusal.value).endswith(f"refused: {there.folder / RUN} ({named})")


def test_refusal_is_one_line_and_leaves_no_table(pair):
    here, there = pair
    edit(there.folder / RUN / "training.json", lambda record: record["material"]["model"].update(digest="0"))
    done = here.snakemake("--cores", "1", "--", "results/merged.csv")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: merge")]
    assert line.endswith("nf4-r4-s0 (model)")
    assert not (here.folder / "results/merged.csv").exists()


@pytest.mark.parametrize("run", [RUN, "results/runs/fp16-r2-s0"], ids=["later", "first"])
def test_run_killed_before_it_could_tell_is_no_obstacle(pair, run):
    here, there = pair
    for study in pair:
        edit(study.folder / run / "training.json", lambda record: record.update(material=None))
        edit(study.folder / run / "training.json", lambda record: record["outcome"].update(status="oom"))
    assert len(merge.merge([str(here.folder), str(there.folder)])) == 12


def test_others_are_held_to_the_first_run_that_could_tell():
    told = {"model": "m", "data": "d", "training code": "t"}
    runs = {"killed": told | {"model": None, "data": None}, "a": told, "b": told | {"model": "other"}}
    with pytest.raises(UserError) as refusal:
        merge.refuse_unlike(runs, {"killed"})
    assert str(refusal.value) == "merge: not made from what a was made from, so refused: b (model)"
    merge.refuse_unlike({"killed": runs["killed"], "a": told}, {"killed"})
    # Its code is known, and held to the others' as well.
    with pytest.raises(UserError, match=r"refused: killed \(training code\)"):
        merge.refuse_unlike({"killed": runs["killed"] | {"training code": "x"}, "a": told}, {"killed"})


def asked(rate=1e-3, alpha=32.0, **more) -> dict:
    return {"training.learning_rate": rate, "lora.alpha": alpha, "training.epochs": 2.0} | more


def rows(*ranks: int, **columns) -> pd.DataFrame:
    names = [f"nf4-r{rank}-s0" for rank in ranks]
    return pd.DataFrame({"folder": "a", "run": names, "precision": "nf4", "rank": ranks, "seed": 0} | columns)


def test_what_is_a_column_of_the_table_is_not_noted():
    """A learning rate that differs is an axis of the merged table; what is none is told."""
    facts = [asked(1e-3), asked(2e-3), asked(2e-3, **{"training.epochs": 3.0})]
    table = merge.with_axes(rows(16, 16, 16, learning_rate=[1e-3, 2e-3, 2e-3]), facts)
    assert merge.remarks(table, [{}] * 3, facts) == [None, None, "training.epochs 3.0, not 2.0"]
    assert configurations.axes_of(table) == ["precision", "rank", "learning_rate"]
    assert [one.learning_rate for one in configurations.configurations_of(table)] == [1e-3, 2e-3, 2e-3]


def test_an_axis_of_one_study_is_told_of_the_runs_of_the_other():
    """An older table does not tell the rate, and one with a single alpha does not tell that."""
    facts = [asked(alpha=32.0), asked(alpha=16.0), asked(4e-3, alpha=32.0), asked(alpha=8.0)]
    table = merge.with_axes(rows(16, 16, 16, 16, alpha=["2r", "1r", None, None]), facts)
    assert list(table["learning_rate"]) == [1e-3, 1e-3, 4e-3, 1e-3]
    assert list(table["alpha"]) == ["2r", "1r", "2r", 8.0]
    assert merge.remarks(table, [{}] * 4, facts) == [None] * 4


def test_an_alpha_that_differs_between_studies_is_told_and_one_that_follows_the_rank_is_not():
    facts = [asked(alpha=16.0), asked(alpha=32.0), asked(alpha=16.0), asked(alpha=16.0)]
    table = merge.with_axes(rows(8, 16, 8, 16), facts)
    assert merge.remarks(table, [{}] * 4, facts) == [None, None, None, "lora.alpha 16.0, not 32.0"]


def test_settings_that_differ_are_columns_and_alpha_only_where_runs_of_one_rank_differ():
    facts = [asked(alpha=16.0), asked(alpha=32.0), asked(alpha=16.0), asked(alpha=32.0, **{"training.epochs": 3})]
    table = merge.with_settings(rows(8, 16, 8, 16), facts)
    assert list(table["epochs"]) == [2.0, 2.0, 2.0, 3.0]
    assert "alpha" not in table
    facts[2]["lora.alpha"] = 8.0
    assert list(merge.with_settings(rows(8, 16, 8, 16), facts)["alpha"]) == [16.0, 32.0, 8.0, 32.0]


def test_names_of_targets_are_not_made_up():
    facts = [asked(**{"lora.targets": ["q_proj"]}), asked(**{"lora.targets": "all-linear"})]
    table = merge.with_axes(rows(16, 16, targets=["attention", None]), facts)
    assert table["targets"].isna().sum() == 1
    assert merge.remarks(table, [{}] * 2, facts)[1] == "lora.targets all-linear, not ['q_proj']"


def test_nothing_to_merge_is_said(finished_study, tmp_path):
    shutil.copytree(finished_study.folder, tmp_path / "study", symlinks=True)
    done = Study(tmp_path / "study").snakemake("--cores", "1", "--", "results/merged.csv")
    assert "error: config: merge: got nothing" in done.stderr
