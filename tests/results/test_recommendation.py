"""What is recommended: the cheapest that is not told apart from the best, within which limits, and how firmly."""

import math

import pytest
from choice_tables import BASES, DESTROYED, NEAR, PEAK, SOUND, THREE, clocked
from tables import HOUR, OOM, SIX, curve, judged, results, row, sized
from tuned_tables import QUIET, tried


def unsteady(levels: dict[int, float], noise: float, examples: int, seeds=THREE) -> list[dict]:
    """Rows whose seeds differ as noise makes means over so many examples differ, each rank's in its own order."""
    spread = 0.8 * noise / math.sqrt(examples) if len(seeds) > 1 else 0
    return clocked(
        [
            row("nf4", rank, seed, level * (1 + spread * ((seed + place) % 3 - 1)))
            for place, (rank, level) in enumerate(levels.items())
            for seed in seeds
        ]
    )


def values(rows: list[dict], **more) -> dict:
    return judged("recommendation", results(rows, **more))["evidence"]["values"]


def test_the_untrained_model_is_recommended_where_no_run_is_better():
    """All runs worse than the base; and so with the base of the other precision alone."""
    rows = curve("nf4", {8: 6.0, 16: 7.0}, THREE)
    for bases in ({"nf4": 5.0}, {"nf4": 6.5, "fp16": 5.0}):
        more = SOUND | {"bases": bases}
        rows = [*rows, *([row("fp16", 8, seed, 6.1) for seed in THREE] if len(bases) > 1 else [])]
        one = judged("recommendation", results(rows, **more))
        assert one["verdict"] == "contradicted"
        assert one["sentence"].startswith("No run is better than the untrained model: the untrained ")
        found = one["evidence"]["values"]
        assert (found["run"], found["rank"], found["precision"]) == (None, 0, min(bases, key=bases.__getitem__))
    # A base of a precision of which no run keeps the limits is no candidate: its weights may not fit either.
    big = [row("fp16", 8, seed, 4.0, peak_memory_gib=9.0) for seed in THREE]
    small = curve("nf4", PEAK, THREE)
    found = values(small + big, **SOUND | {"bases": {"fp16": 2.0, "nf4": 5.0}}, **SIX)
    assert found["precision"] == "nf4"


@pytest.mark.parametrize("seeds", [(0,), (0, 1), THREE])
def test_a_destroyed_model_is_never_recommended(seeds):
    """Alone, beside a sound one, as the cheapest, and where its seeds differ by so much that nothing is told apart."""
    wild = [
        row("nf4", 8, seed, DESTROYED * 10 ** (3 * seed), peak_memory_gib=1.0, run=f"wild-s{seed}") for seed in seeds
    ]
    for bases in (BASES["bases"], {}):
        one = judged("recommendation", results([*wild, *curve("nf4", {16: 3.0}, seeds)], bases=bases))
        assert one["evidence"]["values"]["run"] == "nf4-r16-s0"
    one = judged("recommendation", results(wild, **SOUND))
    assert (one["verdict"], one["evidence"]["values"]["run"]) == (
        "contradicted" if len(seeds) == 1 else one["verdict"],
        None,
    )
    assert one["sentence"].startswith("No run is better than the untrained model")


def test_two_that_differ_by_1_percent_are_told_apart_at_400_examples_and_not_at_12():
    """At 12 the cheaper one is taken, and the sentence says how many examples would tell them apart."""
    found = values(unsteady(NEAR, 0.015, 400), **SOUND | {"noise": 0.015})
    assert (found["rank"], found["not_told_apart"], found["bounds"]) == (16, ["nf4 rank 16"], [])
    one = judged("recommendation", results(unsteady(NEAR, 0.015, 12), **SOUND | {"noise": 0.015, "examples": 12}))
    found = one["evidence"]["values"]
    assert (one["verdict"], found["rank"]) == ("inconclusive", 8)
    assert found["not_told_apart"] == ["nf4 rank 8", "nf4 rank 16"]
    assert "cheapest of 2 that are not told apart: nf4 rank 8 and nf4 rank 16" in one["sentence"]
    assert found["bounds"][0].startswith("12 validation examples are few")
    assert 12 < found["settled_by"]["examples"] < 400
    assert f"some {found['settled_by']['examples']} validation examples would" in one["sentence"]


@pytest.mark.parametrize("seeds", [(0,), THREE])
def test_as_many_examples_as_are_said_tell_them_apart(seeds):
    """The number is from the variance at hand: a variance over 60 of them, so that it may be twice as many."""
    levels, more = {16: 3.03, 32: 3.0}, {"bases": {"nf4": 5.4}, "noise": 0.1}
    before = values(unsteady(levels, 0.1, 60, seeds), examples=60, **more)
    assert len(before["not_told_apart"]) == 2
    needed = before["settled_by"]["examples"]
    assert needed > 90
    found = values(unsteady(levels, 0.1, 2 * needed, seeds), examples=2 * needed, **more)
    assert found["not_told_apart"] == ["nf4 rank 32"]


def test_seeds_are_what_is_missing_where_examples_would_not_do():
    """Two seeds that agree well, and an interval that two seeds make wide: more examples would not narrow it."""
    levels = {16: (3.02, 3.04), 32: (3.0, 3.013)}
    rows = [row("nf4", rank, seed, one) for rank, some in levels.items() for seed, one in enumerate(some)]
    found = values(clocked(rows), **SOUND | {"noise": 0.005})
    assert found["not_told_apart"] == ["nf4 rank 16", "nf4 rank 32"]
    assert found["settled_by"]["examples"] is None
    assert 3 <= found["settled_by"]["seeds"] <= 5


def test_how_much_another_may_be_better_is_said_and_holds_back_from_2_percent_on():
    rows = curve("nf4", NEAR, THREE)
    for noise, held in ((0.05, False), (0.4, True)):
        found = values(rows, **SOUND | {"noise": noise})
        assert any("may be better by as much as" in line for line in found["bounds"]) == held
        assert (found["most_behind_percent"] > 2) == held


def test_the_best_at_an_edge_names_the_rank_to_add():
    for levels, line in (
        ({8: 3.4, 16: 3.0}, "the best, nf4 rank 16, is of the highest rank tried: add 32 to ranks"),
        ({8: 3.0, 16: 3.4}, "the best, nf4 rank 8, is of the lowest rank tried: add 4 to ranks"),
    ):
        assert values(curve("nf4", levels, THREE), **SOUND)["bounds"] == [line]
    # A higher rank that did not fit was tried.
    rows = [*curve("nf4", {8: 3.4, 16: 3.0}, THREE), *(row("nf4", 32, seed, None, **OOM) for seed in THREE)]
    assert values(rows, **SOUND)["bounds"] == []
    # One rank alone is at no edge.
    assert values(curve("nf4", {8: 3.0}, THREE), **SOUND)["bounds"] == []


def test_a_best_rate_at_an_edge_is_a_bound():
    one = judged("recommendation", results(tried("nf4", 8, 3.0, 8e-3, seeds=THREE), **QUIET, bases={"nf4": 5.0}))
    line = "nf4 rank 8 is best at the highest rate tried, 8e-3: add 0.016 to learning_rate"
    assert one["evidence"]["values"]["bounds"] == [line]
    assert one["verdict"] == "inconclusive"


def test_the_adapter_is_the_median_seeds_and_not_the_luckiest_ones():
    levels = {0: 3.02, 1: 2.95, 2: 3.0}
    rows = [row("nf4", 16, seed, level) for seed, level in levels.items()]
    one = judged("recommendation", results(rows, **SOUND))
    assert one["evidence"]["values"]["run"] == "nf4-r16-s2"
    assert one["evidence"]["values"]["adapter"] == "results/runs/nf4-r16-s2/adapter"
    assert "results/runs/nf4-r16-s2/adapter" in one["sentence"]
    # Its perplexity is that of the mean loss, not the median's or the luckiest one's.
    mean = math.exp(sum(map(math.log, levels.values())) / 3)
    assert one["evidence"]["values"]["perplexity"] == pytest.approx(mean)
    # Of two seeds neither is the median, and the first is taken whichever is better.
    for better in (0, 1):
        two = [row("nf4", 16, seed, 2.95 if seed == better else 3.0) for seed in (0, 1)]
        assert values(two, **SOUND)["run"] == "nf4-r16-s0"


def test_what_training_gained_is_in_the_sentence_and_the_values():
    one = judged("recommendation", results(curve("nf4", {16: 4.0}, THREE), **SOUND | {"bases": {"nf4": 5.0}}))
    assert "perplexity 4.000 (" in one["sentence"]
    assert "20.0% lower than before training (" in one["sentence"]
    assert one["evidence"]["values"]["against_base"]["estimate"] == pytest.approx(-20)


def test_of_what_is_level_the_least_memory_counts_then_the_lowest_rank_then_time():
    level = curve("nf4", {8: 3.0, 16: 3.0, 32: 3.0}, THREE)
    assert values(level, **SOUND)["rank"] == 8
    assert values([one | {"peak_memory_gib": 5 - one["rank"] / 32} for one in level], **SOUND)["rank"] == 32
    other = [one | {"precision": "fp16", "run": f"fp16-{one['run']}"} for one in level]
    slow = [one | {"train_seconds": 3 * HOUR} for one in level]
    assert values(slow + other, **SOUND)["precision"] == "fp16"


def test_the_cheapest_within_noise_is_recommended_and_the_next_is_named():
    rows = [row("fp16", 8, 0, 3.0, peak_memory_gib=5.9), row("nf4", 32, 0, 3.001, peak_memory_gib=4.0)]
    rows += [row("nf4", 16, 0, 3.5, peak_memory_gib=3.0), row("fp16", 64, 0, 2.0, peak_memory_gib=9.0)]
    one = judged("recommendation", results(rows, **SIX))
    assert one["evidence"]["values"]["run"] == "nf4-r32-s0"
    assert one["evidence"]["values"]["runner_up"] == "fp16-r8-s0"
    assert "1.90 GiB less memory" in one["sentence"]


def test_a_limit_of_memory_counts_all_that_the_process_held():
    one = judged("recommendation", results(sized("nf4", {8: 5.0}, peak_held_gib=6.1), recommend={"memory_gib": 6}))
    assert one["verdict"] == "contradicted"
    assert "takes 6.10 GiB" in one["sentence"]


def test_memory_and_time_of_the_recommendation_are_one_devices():
    """The device with the most runs, or where none of those fits another; what is left aside is said."""
    rows = [row("fp16", 8, 0, 3.0, peak_memory_gib=5.0), row("fp16", 16, 0, 3.01, peak_memory_gib=5.5)]
    rows += [row("nf4", 8, 0, 3.001, peak_memory_gib=2.0, device="another")]
    one = judged("recommendation", results(rows))
    assert one["evidence"]["values"]["run"] == "fp16-r8-s0"
    assert one["evidence"]["values"]["runner_up"] == "fp16-r16-s0"
    assert one["sentence"].endswith("Memory and time are those of a card alone; left aside: 1 measured elsewhere.")
    one = judged("recommendation", results(rows, budget={"memory_gib": 3, "hours": None}))
    assert one["evidence"]["values"]["run"] == "nf4-r8-s0"
    assert one["sentence"].endswith("those of another alone; left aside: 2 measured elsewhere.")
    one = judged("recommendation", results(rows, budget={"memory_gib": 1, "hours": None}))
    assert one["verdict"] == "contradicted"
    assert "left aside" not in judged("recommendation", results(rows[:2]))["sentence"]


def test_a_run_that_failed_elsewhere_does_not_count_against_a_configuration():
    rows = [row("nf4", 8, 0, 2.0), row("nf4", 16, 0, 3.0)]
    for device, rank in (("another", 8), ("a card", 16), (None, 16)):
        failed = row("nf4", 8, 1, None, device=device, **OOM)
        assert judged("recommendation", results([*rows, failed]))["evidence"]["values"]["rank"] == rank


def test_limits_of_the_recommendation_come_before_the_budgets():
    rows = [row("fp16", 8, 0, 2.0, peak_memory_gib=9.0), row("nf4", 8, 0, 3.0, peak_memory_gib=5.0)]
    for memory, run in ((None, "nf4-r8-s0"), (10, "fp16-r8-s0")):
        one = judged("recommendation", results(rows, **SIX, recommend={"memory_gib": memory}))
        assert one["evidence"]["values"]["run"] == run
    slow = [row("nf4", 8, 0, 2.0, train_seconds=20 * HOUR), row("nf4", 16, 0, 3.0)]
    one = judged("recommendation", results(slow, recommend={"hours": 12}))
    assert one["evidence"]["values"]["run"] == "nf4-r16-s0"


def test_a_configuration_with_a_seed_that_failed_is_not_recommended():
    rows = [*curve("nf4", {8: 2.0, 16: 3.0}, seeds=(0,)), row("nf4", 8, 1, None, **OOM), row("nf4", 16, 1, 3.0)]
    assert judged("recommendation", results(rows))["evidence"]["values"]["rank"] == 16


def test_a_run_that_diverged_takes_no_part_and_its_configuration_is_not_recommended():
    diverged = {"status": "diverged", "peak_memory_gib": None, "train_seconds": None}
    rows = [*curve("nf4", {8: 2.0, 16: 3.0}, seeds=(0,)), row("nf4", 8, 1, None, **diverged), row("nf4", 16, 1, 3.0)]
    table = results(rows)
    one = judged("recommendation", table)
    assert one["evidence"]["values"]["rank"] == 16
    assert not any(1 in seeds for two, seeds in table.losses.columns.items() if two.rank == 8)


def test_a_limit_that_a_run_was_not_held_against_is_not_kept():
    """A maximum over what was measured says nothing of the other seed."""
    rows = [row("nf4", 8, 0, 2.0), row("nf4", 8, 1, 2.0, train_seconds=None), *curve("nf4", {16: 3.0}, seeds=(0, 1))]
    assert judged("recommendation", results(rows))["evidence"]["values"]["rank"] == 8
    one = judged("recommendation", results(rows, recommend={"hours": 12}))
    assert one["evidence"]["values"]["rank"] == 16
    one = judged("recommendation", results(rows[:2], recommend={"hours": 12}))
    assert (one["verdict"], "has a run whose train_seconds was not measured" in one["sentence"]) == (
        "contradicted",
        True,
    )
