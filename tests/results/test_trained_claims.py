"""What the claims about training say, on made-up trainings whose end is known: helped, overfitting, the next gain."""

import numpy as np
import pandas as pd
import pytest
from frontier.results import findings
from tables import NO_LIMITS, curve, judged, results, row, run_losses
from trained_tables import FALLING, history, lengths, targeted, trained
from tuned_tables import QUIET, ranked, tried


def both(**changes) -> list[dict]:
    return curve("nf4", {8: 3.0, 32: 2.9}, **changes)


def test_training_is_held_against_each_runs_own_base():
    """fp16 is worse than NF4's base and better than its own."""
    rows = [row("fp16", 8, 0, 5.0), row("nf4", 8, 0, 3.0)]
    one = judged("training_helped", results(rows, bases={"fp16": 6.0, "nf4": 4.0}))
    assert one["verdict"] == "supported"
    changes = one["evidence"]["values"]["change_percent"]
    assert changes == pytest.approx({"fp16 rank 8": -100 / 6, "nf4 rank 8": -25})
    assert one["sentence"].startswith(
        "Training helped 2 of 2 configurations. Against its own untrained base, nf4 rank 8"
    )
    assert "each interval at 5% / 2" in one["sentence"]


def test_what_is_worse_than_untrained_is_named():
    one = judged("training_helped", results(curve("nf4", {8: 4.0, 16: 9.0}), bases={"nf4": 6.0}))
    assert "Training helped 1 of 2 configurations; worse than before training: nf4 rank 16." in one["sentence"]
    assert one["evidence"]["values"]["worse"] == ["nf4 rank 16"]
    many = judged("training_helped", results(curve("nf4", dict.fromkeys(range(1, 8), 9.0)), bases={"nf4": 6.0}))
    assert "nf4 rank 4 and 3 more" in many["sentence"]


def test_an_arm_that_is_worse_at_some_rates_is_judged_at_its_best():
    rows = tried("nf4", 8, 3.0, 2e-3, steep=0.5)
    one = judged("training_helped", results(rows, bases={"nf4": 4.0}, **QUIET))
    assert one["verdict"] == "supported"
    assert "nf4 rank 8 at 2e-3's perplexity changed by" in one["sentence"]


def test_many_configurations_of_a_training_that_did_nothing_are_not_said_to_be_helped():
    """Twenty that are as their base is, each with noise of its own: 5% of them would be beyond it one by one."""
    false = 0
    for study in range(20):
        rows = [row("nf4", rank, 0, float(np.exp(1 + 0.011 * luck))) for rank, luck in enumerate(_luck(study), 8)]
        one = judged("training_helped", results(rows, bases={"nf4": float(np.e)}, noise=0.11, examples=100))
        false += one["verdict"] != "inconclusive" or "helped none" not in one["sentence"]
    assert false <= 4


def _luck(study: int) -> np.ndarray:
    return np.random.default_rng(study).standard_normal(20)


def test_the_gap_is_of_the_last_fifth_and_says_what_rank_does_to_it():
    rows = both()
    one = judged("overfitting", results(rows, **trained(rows, {8: np.log(2.8), 32: np.log(2.5)})))
    gaps = one["evidence"]["values"]["gap_percent"]
    assert gaps == pytest.approx({"nf4 rank 8": 100 * (3.0 / 2.8 - 1), "nf4 rank 32": 16}, abs=0.5)
    assert "The gap widens from rank 8 to 32 under nf4: +8.3%" in one["sentence"]
    assert one["evidence"]["values"]["widening_percent"] == pytest.approx(100 * (2.9 / 2.5 * 2.8 / 3.0 - 1), abs=0.1)
    assert "validation is measured at the end alone" in one["sentence"]


def test_batches_that_both_ranks_saw_cancel_out_of_the_widening():
    """Batches differ by far more than the ranks' training losses do; they are the same ones."""
    rows = both()
    one = judged("overfitting", results(rows, noise=0.01, **trained(rows, {8: 1.0, 32: 0.9}, noise=0.5)))
    assert "The gap widens" in one["sentence"]
    own = {run["run"]: history({8: 1.0, 32: 0.9}[run["rank"]], noise=0.5, key=run["rank"]) for run in rows}
    assert (
        "The gap is not told to change" in judged("overfitting", results(rows, noise=0.01, histories=own))["sentence"]
    )


def test_a_gap_that_narrows_and_ranks_that_share_no_seed():
    rows = both()
    losses = {8: np.log(2.5), 32: np.log(2.8)}
    assert "The gap narrows" in judged("overfitting", results(rows, **trained(rows, losses)))["sentence"]
    apart = [row("nf4", 8, 0, 3.0), row("nf4", 32, 1, 2.9)]
    assert "The gap " not in judged("overfitting", results(apart, **trained(apart, losses)))["sentence"]


def test_a_loss_that_is_missing_and_a_run_that_failed_are_left_out():
    rows = curve("nf4", {8: 3.0})
    gappy = history(1.0)
    gappy.loc[[85, 90], "loss"] = None
    table = results(rows, histories={"nf4-r8-s0": gappy})
    assert judged("overfitting", table)["verdict"] == "supported"
    assert np.isfinite(judged("overfitting", table)["evidence"]["interval"]["high"])
    failed = curve("nf4", {8: 3.0}, status="over_time")
    assert judged("overfitting", results(failed, histories={"nf4-r8-s0": gappy}))["verdict"] == "not_measured"
    assert judged("overfitting", results(rows, histories={"nf4-r8-s0": gappy[:0]}))["verdict"] == "not_measured"


def test_the_next_gain_names_the_axis_with_the_most_left_first():
    rows = [*tried("nf4", 8, 3.5, 8e-3, steep=0.1), *tried("nf4", 16, 3.0, 2e-3, steep=0.1)]
    one = judged("next_gain", results(rows, **QUIET))
    assert "but a better learning rate may lie beyond those tried" in one["sentence"]
    epochs = lengths({"1": 3.2, "2": 3.0})
    more = [{**one, "rank": 16, "perplexity": 2.7 * one["perplexity"] / 3, "run": f"{one['run']}-16"} for one in epochs]
    more = [one | {"eval_loss": float(np.log(one["perplexity"]))} for one in more]
    one = judged("next_gain", results([*epochs, *more]))
    assert one["verdict"] == "supported"
    assert one["sentence"].startswith(
        "Validation loss still falls at the end of rank and of steps. Rank: nf4's last step,"
    )
    assert "steps: under nf4 rank 16 the last step, epochs 1 to 2, changed perplexity by -6.2%" in one["sentence"]
    assert one["evidence"]["values"]["steps"]["state"] == "falls"
    assert one["evidence"]["values"]["learning_rate"] == {"state": None, "last_step_percent": None}


def test_a_rate_at_an_edge_says_which_to_add():
    one = judged("next_gain", results(ranked({8: 8e-3}, FALLING, steep=0.1), **QUIET))
    assert (
        "is best at the highest rate tried, 8e-3: add 0.016; from 4e-3 to it perplexity changed by" in one["sentence"]
    )


@pytest.mark.parametrize(
    ("fall", "words"), [(0.2, "still fell, by -0.19"), (0.0, "was level within noise"), (-0.2, "rose, by +0.")]
)
def test_the_slope_of_the_training_loss_is_said_and_decides_nothing(fall, words):
    rows = curve("nf4", {8: 3.0})
    one = judged("next_gain", results(rows, **trained(rows, {8: 1.0}, fall=fall)))
    assert one["verdict"] == "inconclusive"
    assert f"nf4 rank 8's training loss {words}" in one["sentence"]
    assert "says nothing of validation" in one["sentence"]


def test_steps_of_a_level_that_is_not_told_are_open():
    one = judged("next_gain", results(lengths({"1": 3.05, "2": 3.0}), noise=0.5))
    assert (one["verdict"], one["evidence"]["values"]["steps"]["state"]) == ("inconclusive", "open")


def test_nf4_and_16_bits_are_compared_pair_by_pair():
    rows = [row("fp16", 8, seed, 3.0, peak_memory_gib=10.0, train_seconds=100 + seed) for seed in (0, 1)]
    rows += [row("nf4", 8, seed, 3.1, peak_memory_gib=4.0, train_seconds=110 + 1.1 * seed) for seed in (0, 1)]
    rows += [row("nf4", 32, 0, 3.1, peak_memory_gib=9.9), row("nf4", 8, 2, 3.1, peak_memory_gib=9.9)]
    table = results(rows)
    assert "+6.000 GiB saved against fp16" in judged("nf4_memory", table)["sentence"]
    assert "its peak is 40% of that" in judged("nf4_memory", table)["sentence"]
    assert judged("nf4_time", table)["evidence"]["interval"]["estimate"] == pytest.approx(10)
    spilled = results([one | ({"status": "spilled"} if one["precision"] == "fp16" else {}) for one in rows])
    assert judged("nf4_time", spilled)["verdict"] == "not_measured"


@pytest.mark.parametrize(
    ("layers", "verdict"),
    [
        (["q_proj", "k_proj", "v_proj", "o_proj"], "supported"),
        (["model.layers.0.self_attn.q_proj"], "supported"),
        (["c_attn"], "supported"),
        (["q_proj", "up_proj"], "not_measured"),
        (["gate_proj"], "not_measured"),
    ],
)
def test_a_set_of_targets_is_known_by_its_layers(layers, verdict):
    sets = {"all": "all-linear", "some": layers}
    one = judged("all_linear", results(targeted({"all": 3.0, "some": 3.3}), targets=sets))
    assert one["verdict"] == verdict
    if verdict == "supported":
        assert "nf4 rank 8, targets some: +10.0%" in one["sentence"]


def test_the_job_reads_the_histories_by_their_runs_folders(tmp_path):
    rows = curve("nf4", {8: 3.0})
    pd.DataFrame(rows).assign(basis="measured").to_csv(tmp_path / "summary.csv", index=False)
    folder = tmp_path / "nf4-r8-s0"
    folder.mkdir()
    run_losses(3.0, 0.1, 0).to_parquet(folder / "nll.parquet")
    history(0.8).to_csv(folder / "history.csv", index=False)
    inputs = {"summary": tmp_path / "summary.csv", "losses": [folder / "nll.parquet"], "baselines": []}
    inputs["histories"] = [str(folder / "history.csv")]
    outputs = {"findings": tmp_path / "findings.json", "page": tmp_path / "findings.md"}
    request = {"runs": ["nf4-r8-s0"], "precisions": [], "budget": NO_LIMITS, "targets": "all-linear"}
    request["recommend"] = NO_LIMITS | {"max_perplexity": None}
    findings.state_findings({"input": inputs, "output": outputs, "request": request})
    assert "| `overfitting` | supported | Validation loss ends above training loss" in outputs["page"].read_text(
        "utf-8"
    )
