"""The run that is recommended: by which limits, of which device, and what it is held against."""

from tables import HOUR, OOM, SIX, curve, judged, results, row, sized


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
