"""The table: rows from records, what is flagged, what is refused."""

import copy

import pytest
from frontier import outcomes
from frontier.errors import UserError
from frontier.results import columns, summary

ENVIRONMENT = {"device": "card", "host": "here", "python": "3.11.7", "start": "forked"}
ENVIRONMENT |= {"packages": {"torch": "2.13.0", "peft": "0.21.2"}}


def training(run: str, status: str = "ok", **outcome) -> dict:
    precision, rank, seed = run.split("-")
    request = {"run": run, "precision": precision, "rank": int(rank[1:]), "seed": int(seed[1:])}
    request |= {"training": {"learning_rate": 1e-3}, "compute_dtype": "auto"}
    return {
        "request": request,
        "outcome": {"status": status, "train_seconds": 2.0, "steps": 5} | outcome,
        "environment": copy.deepcopy(ENVIRONMENT),
    }


def evaluation(name: str, perplexity=3.0, status="ok") -> dict:
    return {"request": {"name": name}, "outcome": {"status": status, "perplexity": perplexity, "eval_loss": 1.1}}


def test_rows_are_sorted_and_what_was_not_measured_is_empty():
    runs = ["nf4-r16-s0", "nf4-r8-s0", "fp16-r8-s1", "fp16-r8-s0"]
    frame = summary.table([*map(training, runs)], [*map(evaluation, runs)], [evaluation("nf4"), evaluation("fp16")])
    assert list(frame["run"]) == ["fp16-r8-s0", "fp16-r8-s1", "nf4-r8-s0", "nf4-r16-s0"]
    assert list(frame.columns) == [name for name in columns.SUMMARY if name not in columns.DERIVED]
    assert frame[["peak_allocated_gib", "phase", "reason", "trainable_parameters"]].isna().all(axis=None)
    assert frame["notes"].isna().all()


def test_a_run_that_did_not_end_well_keeps_its_row_and_its_reason():
    oom = training("fp16-r8-s0", "oom", phase="load", reason="out of memory", train_seconds=None)
    frame = summary.table([oom], [evaluation("fp16-r8-s0", None, "oom")], [evaluation("fp16", None, "oom")])
    (row,) = frame.to_dict("records")
    assert (row["status"], row["phase"], row["reason"]) == ("oom", "load", "out of memory")
    assert frame[["perplexity", "train_seconds", "base_perplexity"]].isna().all(axis=None)


def test_a_run_that_training_made_worse_is_named_so_in_print():
    frame = summary.table([training("nf4-r8-s0")], [evaluation("nf4-r8-s0", 9.0)], [evaluation("nf4", 5.0)])
    for judged, printed in (("worse", "worse than untrained"), ("better", "better"), (None, None)):
        told = summary.said(frame.assign(against_base=[judged]))
        assert (told["status"][0], told["against_base"][0]) == ("ok", printed)


@pytest.mark.parametrize(
    ("known", "needs"),
    [
        ({"needs_gib": 13.5, "peak_allocated_gib": 0.0, "peak_host_gib": 0.9, "refused_gib": 13.4}, 13.5),
        ({"peak_allocated_gib": 5.25, "peak_host_gib": 0.9, "refused_gib": 0.5}, 5.75),
        ({"peak_allocated_gib": None, "peak_host_gib": 2.5, "refused_gib": None}, 2.5),
        ({}, None),
    ],
)
def test_out_of_memory_says_what_it_would_have_needed_at_least(known, needs):
    assert summary.needs_gib({"status": "oom"} | known) == needs
    assert summary.needs_gib({"status": "over_time"} | known) is None


def test_unlike_machines_and_versions_are_flagged():
    runs = ["fp16-r8-s0", "fp16-r16-s0", "fp16-r32-s0", "fp16-r64-s0"]
    trainings = [*map(training, runs)]
    trainings[1]["environment"]["packages"]["torch"] = "2.11.0"
    trainings[2]["environment"]["device"] = "another card"
    trainings[3]["environment"]["start"] = "spawned"
    frame = summary.table(trainings, [*map(evaluation, runs)], [evaluation("fp16")])
    unlike = ["torch 2.11.0, not 2.13.0", "device another card, not card", "start spawned, not forked"]
    assert list(frame["notes"].fillna("")) == ["", *unlike]


def test_unlike_products_of_one_precision_are_flagged():
    runs = ["fp16-r8-s0", "fp16-r16-s0", "fp16-r32-s0", "nf4-r8-s0"]
    trainings = [*map(training, runs)]
    for one, taken in zip(trainings, ["bfloat16", "bfloat16", "float32", "float16"], strict=True):
        one["outcome"]["product_dtype"] = taken
    frame = summary.table(trainings, [*map(evaluation, runs)], [evaluation("fp16"), evaluation("nf4")])
    notes = dict(zip(frame["run"], frame["notes"].fillna(""), strict=True))
    flagged = "products over fp16 at compute_dtype auto are of float32, not bfloat16"
    assert notes == dict.fromkeys(runs, "") | {"fp16-r32-s0": flagged}


def test_a_process_that_left_no_environment_is_no_obstacle():
    runs = ["fp16-r8-s0", "fp16-r16-s0"]
    trainings = [*map(training, runs)]
    trainings[0]["environment"] = None
    frame = summary.table(trainings, [*map(evaluation, runs)], [evaluation("fp16")])
    assert frame["notes"].isna().all()


def test_an_evaluation_that_was_killed_is_a_row_without_a_perplexity():
    killed = {"request": {"name": "fp16"}, "outcome": outcomes.killed_by_kernel("evaluate", None)}
    (row,) = summary.table([training("fp16-r8-s0")], [killed], [killed]).to_dict("records")
    assert (row["status"], row["phase"], row["train_seconds"]) == ("oom", "evaluate", 2.0)
    assert row["perplexity"] is row["base_perplexity"] is None


@pytest.mark.parametrize("trained", ["ok", "spilled"])
def test_an_evaluation_that_diverged_is_what_its_row_says(trained):
    diverged = evaluation("nf4", None, "diverged")
    diverged["outcome"] |= {"phase": "evaluate", "reason": "loss not finite on 1 of 4 validation examples"}
    (row,) = summary.table([training("nf4-r8-s0", trained)], [diverged], [evaluation("nf4")]).to_dict("records")
    assert (row["status"], row["phase"]) == ("diverged", "evaluate")
    assert row["reason"].startswith("loss not finite")
    assert row["perplexity"] is None


def test_stale_records_are_refused_by_name():
    names = [f"results/runs/nf4-r{rank}-s0/training.json" for rank in (1, 2, 3, 4, 5)]
    summary.refuse_stale(names, ["a"] * 5, ["a"] * 5)
    line = (
        r"nf4-r2-s0/training\.json: recorded under another .* refused.* snakemake --cores 1 -R results/.* --cores 1 -F"
    )
    with pytest.raises(UserError, match=line):
        summary.refuse_stale(names, ["a"] * 5, ["a", "b", "a", "a", "a"])
    with pytest.raises(UserError, match="and 2 more"):
        summary.refuse_stale(names, ["a"] * 5, ["b"] * 5)
