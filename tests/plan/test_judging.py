"""What a plan says of the jobs that judge a run: what they hold and take, and what would fit where they do not."""

import json

import pandas as pd
import pytest
from frontier import paths
from frontier.model.config_file import config_of
from frontier.plan import at_once, roofline
from frontier.plan import table as table_module
from frontier.plan.advice import advise_judging
from frontier.plan.judging import Judging
from frontier.plan.planner import Planner
from frontier.plan.step import emulated_card
from frontier.study import cards, shapes
from planned import CARD, judging, request, rows, shape, small_study

MEASURED = [
    json.loads(line)
    for line in (paths.ROOT / "docs/reference/planner/check_judging-h200.jsonl").read_text("utf-8").splitlines()
]


def planner_of(limit=None, config=None, held_out=20, device=CARD) -> Planner:
    rates = roofline.from_datasheet(cards.find("RTX 4090"))
    config = config or shape(4)
    return Planner(config, rows(16, 64), device, rates, limit, 0.0, held_out=rows(held_out, 64))


@pytest.mark.parametrize("kind", ["losses", "answers"])
def test_what_was_measured_on_a_card_is_foretold(kind):
    """A 7B base in 4 bits whose head of 152,000 tokens is made in float32, which is more than all activations."""
    (line,) = [one for one in MEASURED if one["kind"] == kind and one["model"] == "Qwen2.5-7B"]
    card = emulated_card.EmulatedCard(True, (9, 0))
    config = config_of(shapes.find("Qwen2.5-7B"), "Qwen2.5-7B")
    prompts = [{"input_ids": [1] * 128, "labels": [-100] * 128}] * 16
    held_out = [{"input_ids": [1] * 512, "labels": [-100] + [1] * 511}] * 8 if kind == "losses" else prompts
    planner = Planner(config, held_out, card, None, line["budget_gib"], 0.0, held_out=held_out)
    judge = judging(planner, measure=True, batch_size=16, max_new_tokens=48)
    need = judge.losses(request("nf4", 16)) if kind == "losses" else judge.answers(request("nf4", 16))
    assert need.gib == pytest.approx(line["peak_allocated_gib"], abs=0.04)
    assert need.gib > line["static_gib"] + 2


def test_small_weights_are_kept_in_the_dtype_of_the_products():
    """Of a limit four times as large as they are in float32 there is room for them, beside the stored ones."""
    wide = shape(4, hidden_size=1024, intermediate_size=4096, vocab_size=8000)
    # The weights are some 60 million numbers.
    with_room, without = (judging(planner_of(limit, wide)).losses(request()).gib for limit in (2.0, 0.5))
    assert with_room - without > 0.1


def test_the_rank_counts_by_the_adapters_weights():
    judge = judging(planner_of())
    eight, sixteen, more = (judge.losses(request(rank=rank)).gib for rank in (8, 16, 24))
    assert 0 < sixteen - eight == pytest.approx(more - sixteen)


def test_answers_hold_what_the_model_keeps_of_all_tokens():
    few, many = (judging(planner_of(), measure=True, max_new_tokens=new).answers(request()) for new in (128, 1152))
    # 16 prompts, 1,024 tokens more, 4 layers of 2 keys and 2 values of 32 numbers, a float32 each.
    assert (many.gib - few.gib) * 2**30 >= 16 * 1024 * 4 * 4 * 32 * 4
    assert many.seconds > 4 * few.seconds


def test_a_row_has_what_judging_takes_and_the_total_counts_the_bases():
    seeds = [request() | {"seed": seed, "run": f"nf4-r8-s{seed}"} for seed in range(2)]
    planner = planner_of()
    frame, lines = table_module.table(planner, seeds, judging(planner, measure=True))
    assert lines == []
    row = frame.iloc[0]
    for name in ("evaluation", "accuracy"):
        assert row[f"{name}_gib"] > 0
        assert row[f"{name}_hours"] > 0
    said = table_module.total(frame)
    # Two runs and their base.
    assert f"{3 * row['evaluation_hours']:.2f} of evaluation" in said
    assert f"{3 * row['accuracy_hours']:.2f} of accuracy at the most" in said
    shown = table_module.printed(frame)
    assert shown["runs"].tolist() == [2]
    assert {"evaluation_gib", "accuracy_hours"} <= set(shown.columns)
    unmeasured, _ = table_module.table(planner, seeds, judging(planner))
    assert unmeasured["accuracy_gib"].isna().all()
    assert "accuracy" not in table_module.total(unmeasured)


def test_a_run_that_does_not_fit_is_not_judged_and_an_unknown_number_of_examples_takes_unknown_hours():
    planner = planner_of(limit=0.001)
    found = judging(planner).columns(request(), trained=False)
    assert found["evaluation_gib"] > 0.001
    assert found["evaluation_hours"] is None
    assert judging(planner_of(held_out=0)).losses(request()).seconds is None


def test_an_evaluation_that_does_not_fit_has_a_line_with_the_batch_that_does():
    wanted = request()
    planner = planner_of(limit=100.0)
    judge = Judging(planner, small_study()["evaluation"] | {"batch_size": 16}, small_study()["accuracy"])
    row = {"fits": True, "evaluation_gib": judge.losses(wanted).gib, "accuracy_gib": None}
    assert advise_judging(judge, wanted, row) == []
    # Weights are kept only where there is room; a limit this small has none.
    planner.limit_gib = 0.05
    row["evaluation_gib"], smaller = judge.losses(wanted).gib, judge.losses(wanted, 4).gib
    planner.limit_gib = (smaller + judge.losses(wanted, 8).gib) / 2
    (line,) = advise_judging(judge, wanted, row)
    assert line.startswith("nf4-r8 trains, but its evaluation holds ")
    assert line.endswith("; with evaluation.batch_size: 4 it fits")
    planner.limit_gib = judge.losses(wanted, 1).gib * 0.9
    (line,) = advise_judging(judge, wanted, row)
    assert "compute_dtype: auto" in line or "could not be judged" in line
    assert advise_judging(judge, wanted, row | {"fits": False}) == []


def test_runs_of_several_seeds_are_planned_once(monkeypatch):
    asked = []
    plain = Planner.row
    monkeypatch.setattr(Planner, "row", lambda self, one: asked.append(one["run"]) or plain(self, one))
    monkeypatch.setattr(at_once, "physical_cores", lambda: 1)
    runs = [request(rank=rank) | {"seed": seed, "run": f"nf4-r{rank}-s{seed}"} for seed in range(3) for rank in (4, 8)]
    planner = planner_of()
    frame, _ = table_module.table(planner, runs, judging(planner))
    assert frame["run"].tolist() == [one["run"] for one in runs]
    assert len(asked) == 2
    monkeypatch.setattr(at_once, "physical_cores", lambda: 2)
    again, _ = table_module.table(planner_of(), runs, judging(planner_of()))
    pd.testing.assert_frame_equal(frame, again)


def test_a_larger_micro_batch_that_fits_is_named_with_what_it_gains():
    wanted = request(batch=16, micro_batch_size=1, cuda_graphs=False)
    planner = planner_of(limit=24.0)
    frame, (line,) = table_module.table(planner, [wanted], judging(planner))
    assert frame["best_micro_batch_size"].tolist() == [16]
    assert line.startswith("nf4-r8 with micro_batch_size: 16 holds ")
    assert " times as fast: " in line
    planner.limit_gib = planner.need_gib(wanted, planner.rows[:1]) * 1.001
    frame, (line,) = table_module.table(planner, [wanted], judging(planner))
    assert frame["best_micro_batch_size"].tolist() == [1]
    assert "to spare" in line
