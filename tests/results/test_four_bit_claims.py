"""Claims about NF4 where its base is in 4 bits in name only: withheld, with the share, and no others."""

import pytest
from choice_tables import PEAK, SOUND, THREE
from frontier.results import findings
from frontier.results.claims.four_bits import in_name_only
from frontier.results.recommended import recommendation
from shipping_tables import shipped
from tables import SIX, curve, results, row
from trained_tables import history

FALLING = {8: 4.0, 16: 3.3, 32: 3.1}
WITHHELD = {
    "nf4_within_budget",
    "nf4_memory",
    "nf4_time",
    "nf4_speedup",
    "fp16_best_quality",
    "nf4_quality_gap",
    "rank_monotone",
    "diminishing_returns",
    "knee",
    "quantization_cost",
    "recommendation",
    "shipping_cost",
}
# At one learning rate these are not measured, whatever the base stores; test_rate_claims.py has them withheld.
OF_RATES = {"rate_matters", "best_rate", "rate_rule"}
# These hold of a base whatever it stores, and say what it stores.
SAID = {"training_helped", "overfitting", "next_gain"}


def claims(share, *others, **changes) -> dict[str, dict]:
    """Every claim by its name, over NF4 and 16 bits in which each can be judged."""
    rows = curve("fp16", FALLING, peak_memory_gib=15.0) + curve("nf4", FALLING, four_bit_share=share)
    rows = [one | {"predicted_peak_error": 0.01, "predicted_seconds_error": 0.1} for one in rows]
    trainings = {one["run"]: history(0.9) for one in rows}
    table = results(
        [*rows, *others],
        bases={"fp16": 5.0, "nf4": 5.5},
        histories=trainings,
        shipping=shipped(told="worse"),
        **SIX,
        **changes,
    )
    return {one["id"]: one for one in findings.state(table) if one["part"] == "study" or one["id"] == "nf4_speedup"}


def test_below_one_half_claims_about_nf4_are_withheld_and_say_why():
    sound, named = claims(0.97), claims(0.029)
    assert {name for name, one in sound.items() if one["verdict"] == "not_measured"} == OF_RATES
    assert {name for name, one in named.items() if one["verdict"] == "not_measured"} == WITHHELD | OF_RATES
    for name, one in named.items():
        told = sound[name]["sentence"]
        if name not in WITHHELD:
            said = f"{told} Its base is in 4 bits in name only: 2.9% of the base's parameters in 4 bits under nf4"
            said = f"{said}, embeddings and head aside."
            assert one == (sound[name] | {"sentence": said} if name in SAID else sound[name])
            continue
        assert one["sentence"] == (
            "Not measured: only 2.9% of the base's parameters in 4 bits under nf4, embeddings and head aside, so that "
            "these runs say nothing of NF4."
        )
        assert one["evidence"]["values"] == {"four_bit_share": {"nf4": 0.029}}
        assert one["published"] == sound[name]["published"]


@pytest.mark.parametrize("share", [0.5, 0.97, None])
def test_from_one_half_on_and_where_old_records_have_no_share_nothing_is_withheld(share):
    sound, other = claims(0.97), claims(share)
    assert {name: one["verdict"] for name, one in other.items()} == {
        name: one["verdict"] for name, one in sound.items()
    }


def test_one_precision_of_its_own_is_recommended_as_what_it_is():
    """Ranks of one base are held against each other, whatever that stores; precisions are not."""
    table = results(curve("nf4", PEAK, THREE, four_bit_share=0.1), **SOUND)
    by_name = {one["id"]: one for one in findings.state(table)}
    assert by_name["recommendation"]["verdict"] == "supported"
    assert "in name only: 10.0% of the base's parameters in 4 bits under nf4" in by_name["recommendation"]["sentence"]
    assert by_name["rank_time"]["verdict"] != "not_measured"
    assert by_name["rank_monotone"]["verdict"] == "not_measured"


def test_fp4_in_name_only_is_no_rival_of_16_bits_and_leaves_nf4s_claims():
    fp4 = row("fp4", 8, 0, 2.0, four_bit_share=0.03)
    by_name = claims(0.97, fp4)
    assert {name for name, one in by_name.items() if one["verdict"] == "not_measured"} == {
        "fp16_best_quality",
        "recommendation",
        *OF_RATES,
    }
    assert "3.0% of the base's parameters in 4 bits under fp4" in by_name["recommendation"]["sentence"]


def test_a_claim_that_the_runs_cannot_judge_keeps_its_own_reason():
    by_name = {one["id"]: one for one in findings.state(results(curve("nf4", {8: 3.0}, four_bit_share=0.1)))}
    assert "it takes a 16-bit and an NF4 run" in by_name["nf4_speedup"]["sentence"]


def test_what_is_in_name_only_is_told_by_the_least_share_that_is_known():
    rows = [row("nf4", 8, 0, 3.0, four_bit_share=None), row("nf4", 16, 0, 3.0, four_bit_share=0.2)]
    assert in_name_only(results(rows).summary) == {"nf4": 0.2}
    assert in_name_only(results(rows[:1]).summary) == {}
    assert in_name_only(results([row("fp16", 8, 0, 3.0)]).summary) == {}


def test_pages_show_a_recommendation_that_is_withheld():
    summary = results(curve("nf4", FALLING)).summary
    one = recommendation(summary, [*claims(0.029).values()], {}, {})
    assert one["run"] is None
    assert "2.9%" in findings.markdown([*claims(0.029).values()])
