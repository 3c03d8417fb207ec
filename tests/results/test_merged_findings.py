"""What several studies' runs come to, group by group, judged as a study's own findings are."""

import several
from frontier.results.findings import STUDY
from several import BIG, ON_BIG, SMALL, run, write
from test_merged_page import only, shown


def verdicts(group: dict) -> dict[str, str]:
    return {one["id"]: one["verdict"] for one in group["findings"]}


def test_claims_are_judged_within_a_card(tmp_path):
    """fp16 ran on the big card alone, so that what NF4 costs is of its two runs there."""
    group = only(several.pair(tmp_path))
    found = {one["id"]: one for one in group["findings"]}
    assert found["training_helped"]["verdict"] == "supported"
    gap = found["nf4_quality_gap"]
    assert gap["verdict"] == "contradicted"
    assert gap["evidence"]["runs"] == [f"{name}-r8-s0 of {tmp_path}/big" for name in ("fp16", "nf4")]
    assert BIG in gap["sentence"]
    assert SMALL not in gap["sentence"]


def test_studies_of_one_card_are_judged_together(tmp_path):
    """Neither study alone has a second rank: together they tell whether perplexity falls with it."""
    write(tmp_path / "low", [run("nf4", 8, 2.2, 6, 1)], BIG)
    write(tmp_path / "high", [run("nf4", 16, 2.1, 6.1, 1)], BIG, start=10)
    assert "rank_monotone" not in verdicts(only([str(tmp_path / "low")]))
    assert verdicts(only([str(tmp_path / name) for name in ("low", "high")]))["rank_monotone"] == "supported"


def test_what_may_not_be_compared_is_judged_apart(tmp_path):
    first, second = shown(several.pair(tmp_path, model="another"))["groups"]
    assert "nf4_quality_gap" in verdicts(first)
    assert "nf4_quality_gap" not in verdicts(second)


def test_what_cannot_be_judged_and_what_the_answer_says_are_left_out(tmp_path):
    group = only([str(write(tmp_path / "one", ON_BIG, BIG, losses=False))])
    assert {"nf4_memory", "nf4_time"} <= set(verdicts(group))
    assert not {"recommendation", "training_helped", "nf4_quality_gap"} & set(verdicts(group))
    assert "not_measured" not in verdicts(group).values()
    assert set(verdicts(group)) < {judge.__name__ for judge in STUDY}
