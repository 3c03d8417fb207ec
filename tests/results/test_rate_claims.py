"""What the learning rate does to claims about ranks and precisions, on made-up studies whose truth is known."""

import json
from pathlib import Path

import pandas as pd
import pytest
from frontier.results import findings
from frontier.results.claims.claim import Evidence
from tables import HOUR, NO_LIMITS, SIX, curve, judged, results, row, run_losses, study
from tuned_tables import FALLING, LEVEL, QUIET, RATES, ranked, ruled, tried

# What the claims said of two tables before there was a learning rate in them; of the recommendation, what it says since
# one seed or a best rank at an edge holds it back.
BEFORE = json.loads((Path(__file__).parent / "one_rate.json").read_text("utf-8"))
BASES = {"bases": {"fp16": 5.0, "nf4": 6.0}}
# Claims about ranks and precisions whose sentence says at which rates.
COMPARED = ("fp16_best_quality", "nf4_quality_gap", "rank_monotone", "diminishing_returns", "knee")


def at(rows: list[dict], rate: float) -> list[dict]:
    return [one for one in rows if one["learning_rate"] == rate]


def two_seeds() -> Evidence:
    levels = {"fp16": {8: 3.0, 16: 2.9, 32: 2.85}, "nf4": {8: 3.1, 16: 2.98, 32: 2.9}}
    return results(
        [
            row(precision, rank, seed, level * (1 + 0.004 * seed))
            for precision, ranks in levels.items()
            for rank, level in ranks.items()
            for seed in (0, 1)
        ],
        **SIX,
        **BASES,
    )


def leaves(value, *path) -> dict[tuple, object]:
    """Every value that is no container, by where it stands."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for name, item in items for key, leaf in leaves(item, *path, name).items()}
    return {path: value}


@pytest.mark.parametrize("name", BEFORE)
def test_at_one_rate_every_verdict_and_number_is_as_before(name):
    table = {"study": study, "two seeds": two_seeds}[name](**(BASES if name == "study" else {}))
    claims = {one["id"]: one for one in findings.state(table)}
    assert set(BEFORE[name]) <= set(claims)
    for one, before in BEFORE[name].items():
        now, then = leaves(claims[one]["evidence"] | {"verdict": claims[one]["verdict"]}), leaves(before)
        assert {key: now[key] for key in then} == pytest.approx(then)


@pytest.mark.parametrize(("column", "words"), [({}, ""), ({"learning_rate": 1e-3}, " 1e-3,")])
def test_at_one_rate_claims_about_rank_and_precision_say_so(column, words):
    rows = curve("fp16", FALLING, **column) + curve("nf4", FALLING, **column)
    claims = {one["id"]: one for one in findings.state(results(rows, **BASES))}
    for name in COMPARED:
        assert claims[name]["sentence"].startswith(f"At one learning rate,{words} ")
    assert f"At one learning rate,{words} after training" in claims["quantization_cost"]["sentence"]
    assert claims["recommendation"]["sentence"].endswith(f"All at one learning rate,{words}".removesuffix(",") + ".")
    assert "learning rate" not in claims["rank_time"]["sentence"]
    assert "such as [5e-4, 1e-3, 2e-3]" in claims["best_rate"]["sentence"]


def test_rank_that_matters_at_each_rate_and_not_tuned():
    """The lower the rank, the higher its best rate: at any one rate that reads as what rank buys."""
    rows = ranked({8: 4e-3, 16: 2e-3, 32: 1e-3}, LEVEL)
    assert judged("rank_monotone", results(at(rows, 5e-4), **QUIET))["verdict"] == "supported"
    assert judged("rank_monotone", results(at(rows, 8e-3), **QUIET))["verdict"] == "contradicted"
    table = results(rows, **QUIET)
    one = judged("knee", table)
    assert one["verdict"] == "inconclusive"
    assert "flat within noise" in one["sentence"]
    assert "Each rank at its best rate: 8 at 4e-3, 16 at 2e-3 and 32 at 1e-3." in one["sentence"]
    assert one["evidence"]["values"]["best_rate"]["nf4 rank 8"] == 4e-3
    assert judged("rank_monotone", table)["verdict"] == "inconclusive"
    assert judged("rate_matters", table)["verdict"] == "supported"


def test_rank_that_matters_tuned():
    table = results(ranked({8: 4e-3, 16: 2e-3, 32: 1e-3}, FALLING), **QUIET)
    for name in ("rank_monotone", "diminishing_returns"):
        assert judged(name, table)["verdict"] == "supported"
    assert judged("rank_monotone", table)["evidence"]["values"]["perplexity"]["8"] == pytest.approx(4.0)


def test_an_optimum_at_an_edge_holds_back_every_claim_that_rests_on_it():
    """fp16's rank 8 is best at the highest rate tried; NF4's claims about rank do not rest on it."""
    rows = ranked({8: 8e-3, 16: 2e-3, 32: 1e-3}, FALLING, "fp16")
    rows += ranked({8: 4e-3, 16: 2e-3, 32: 1e-3}, {rank: 1.1 * level for rank, level in FALLING.items()})
    claims = {one["id"]: one for one in findings.state(results(rows, **QUIET, **BASES))}
    line = "fp16 rank 8 is best at the highest rate tried, 8e-3: add 0.016 to learning_rate"
    for name in ("fp16_best_quality", "nf4_quality_gap", "recommendation"):
        assert claims[name]["verdict"] == "inconclusive"
        assert claims[name]["sentence"].endswith(f"{line}.")
    assert claims["nf4_quality_gap"]["evidence"]["values"]["at_an_edge"] == [line]
    assert claims["nf4_quality_gap"]["sentence"].startswith("Not settled, since a better rate may lie beyond")
    assert claims["rank_monotone"]["verdict"] == "supported"
    assert claims["quantization_cost"]["verdict"] == "supported"
    assert claims["best_rate"]["verdict"] == "supported"


def test_an_arm_that_was_tried_at_one_rate_alone_holds_back_too():
    one = judged(
        "rank_monotone", results(ranked({16: 2e-3, 32: 1e-3}, FALLING) + tried("nf4", 8, 4.0, 1e-3, (1e-3,)), **QUIET)
    )
    assert one["verdict"] == "inconclusive"
    assert "nf4 rank 8 was tried at one learning rate alone, 1e-3" in one["sentence"]


def test_an_order_that_turns_between_rates_is_judged_at_the_best_ones():
    rows = ranked({8: 4e-3, 32: 1e-3}, {8: 3.05, 32: 3.0})
    low, high, tuned = (results(some, noise=0.005) for some in (at(rows, 5e-4), at(rows, 8e-3), rows))
    assert [judged("rank_monotone", one)["verdict"] for one in (low, high, tuned)] == [
        "supported",
        "contradicted",
        "supported",
    ]
    fall = judged("rank_monotone", tuned)["evidence"]["values"]["fall_nats"]["8 to 32"]
    assert 0.01 < fall < 0.02 < judged("rank_monotone", low)["evidence"]["values"]["fall_nats"]["8 to 32"]


def test_unlike_seeds_are_compared_on_those_that_the_best_rates_share():
    """Seed 1 is worse by a hundredth and was run near each best rate alone: that rate stays the best."""
    near = [
        {**one, "seed": 1, "run": f"{one['run']}-again", "perplexity": 1.01 * one["perplexity"]}
        for one in ranked({8: 4e-3, 32: 1e-3}, FALLING)
        if abs(RATES.index(one["learning_rate"]) - (3 if one["rank"] == 8 else 1)) < 2
    ]
    near = [one | {"eval_loss": one["eval_loss"] + 0.00995} for one in near]
    table = results(ranked({8: 4e-3, 32: 1e-3}, FALLING) + near, **QUIET)
    one = judged("rank_monotone", table)
    assert one["verdict"] == "supported"
    assert one["evidence"]["interval"]["basis"] == "2 seeds"
    assert one["evidence"]["values"]["best_rate"] == {"nf4 rank 8": 4e-3, "nf4 rank 32": 1e-3}


def test_claims_are_judged_within_the_setting_with_the_most_runs():
    """The other value of alpha would turn the order; its runs are left aside, and the recommendation knows them."""
    most = ranked({8: 2e-3, 32: 1e-3}, {8: 3.2, 32: 3.0}, alpha="16", seeds=(0, 1))
    less = ranked({8: 2e-3, 32: 1e-3}, {8: 2.8, 32: 3.4}, alpha="2r")
    claims = {one["id"]: one for one in findings.state(results(most + less, **QUIET))}
    one = claims["rank_monotone"]
    assert one["verdict"] == "supported"
    assert one["sentence"].endswith("Judged with alpha 16; runs at other values are left aside.")
    assert one["evidence"]["values"]["setting"] == {"alpha": "16"}
    assert not [run for run in one["evidence"]["runs"] if run.endswith("2r")]
    values = claims["recommendation"]["evidence"]["values"]
    assert (values["rank"], values["learning_rate"], values["alpha"]) == (8, 2e-3, "2r")


def test_of_settings_with_as_many_runs_the_first_counts():
    table = results(ruled({"2r": 2e-3, "16": 1e-3}), **QUIET)
    assert table.setting == (("alpha", "2r"),)


def test_the_recommendation_names_precision_rank_and_rate():
    rows = ranked({8: 4e-3, 32: 1e-3}, FALLING, peak_memory_gib=4.0)
    one = judged("recommendation", results(rows, **QUIET))
    assert one["sentence"].startswith("Use nf4 rank 32 at 1e-3: perplexity 3.100")
    assert "Take the adapter of nf4-r32-s0-lr0.001: results/runs/nf4-r32-s0-lr0.001/adapter." in one["sentence"]
    values = one["evidence"]["values"]
    assert (values["precision"], values["rank"], values["learning_rate"]) == ("nf4", 32, 1e-3)
    assert values["runner_up"] == "nf4-r8-s0-lr0.004"
    assert "Each" not in one["sentence"]


def test_limits_are_held_against_the_runs_at_the_best_rate():
    """Another rate of the arm that took too long is no reason against it; its best rate's time is."""
    rows = ranked({8: 4e-3, 32: 1e-3}, FALLING)
    limit = {"recommend": {"hours": 3}}
    for rate, rank in ((8e-3, 32), (1e-3, 8)):
        slow = [
            one | ({"train_seconds": 4 * HOUR} if (one["rank"], one["learning_rate"]) == (32, rate) else {})
            for one in rows
        ]
        assert judged("recommendation", results(slow, **QUIET, **limit))["evidence"]["values"]["rank"] == rank


def test_a_perplexity_that_none_keeps_is_not_settled_at_an_edge():
    limit = {"recommend": {"max_perplexity": 2}}
    one = judged("recommendation", results(ranked({8: 2e-3, 32: 1e-3}, FALLING), **QUIET, **limit))
    assert one["verdict"] == "contradicted"
    one = judged("recommendation", results(ranked({8: 8e-3, 32: 1e-3}, FALLING), **QUIET, **limit))
    assert one["verdict"] == "inconclusive"
    assert "run" not in one["evidence"]["values"]


def test_the_rates_spread_stands_beside_the_ranks():
    """A worst rate two steps off costs 8%; rank 8 costs 5% against 32."""
    one = judged("rate_matters", results(ranked({8: 2e-3, 32: 2e-3}, {8: 3.15, 32: 3.0}), **QUIET))
    ratio = one["evidence"]["interval"]
    assert ratio["estimate"] == pytest.approx(0.0770 / 0.0488, rel=0.01)
    assert ratio["low"] < ratio["estimate"] < ratio["high"]
    assert "the worst learning rate of 5e-4 to 8e-3 costs +7.9%" in one["sentence"]
    flat = judged("rate_matters", results(ranked({8: 2e-3, 32: 2e-3}, LEVEL), **QUIET))
    assert flat["evidence"]["interval"]["high"] is None


def test_new_claims_are_withheld_of_a_base_in_4_bits_in_name_only():
    rows = ranked({8: 4e-3, 32: 1e-3}, LEVEL, four_bit_share=0.03) + ruled({"16": 4e-3}, four_bit_share=0.03)
    claims = {one["id"]: one for one in findings.state(results(rows, **QUIET))}
    for name in ("rate_matters", "best_rate"):
        assert "only 3.0% of the base's parameters in 4 bits" in claims[name]["sentence"]
    assert claims["rate_rule"]["sentence"].startswith("Not measured: it takes")
    sixteen = [one | {"precision": "fp16", "four_bit_share": None} for one in rows]
    assert judged("best_rate", results(sixteen, **QUIET))["verdict"] == "supported"


def test_the_rates_to_add_are_printed_after_the_verdicts(tmp_path, capsys):
    rows = ranked({8: 8e-3, 32: 1e-3}, FALLING)
    summary = pd.DataFrame(rows).assign(basis="measured")
    summary.to_csv(tmp_path / "summary.csv", index=False)
    paths = []
    for key, one in enumerate(rows):
        paths.append(tmp_path / f"{one['run']}.parquet")
        run_losses(one["perplexity"], 0.02, key).to_parquet(paths[-1])
    request = {"runs": [one["run"] for one in rows], "precisions": [], "budget": NO_LIMITS, "targets": "all-linear"}
    request["recommend"] = NO_LIMITS | {"max_perplexity": None}
    outputs = {"findings": tmp_path / "findings.json", "page": tmp_path / "findings.md"}
    inputs = {"summary": tmp_path / "summary.csv", "losses": paths, "baselines": [], "histories": []}
    findings.state_findings({"input": inputs, "output": outputs, "request": request})
    said = capsys.readouterr()
    last = (said.out + said.err).strip().splitlines()[-1]
    assert last.endswith("nf4 rank 8 is best at the highest rate tried, 8e-3: add 0.016 to learning_rate")
