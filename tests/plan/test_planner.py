"""The plan: for which device, of what, and what would fit."""

import io
import json
import re

import pandas as pd
import pytest
from frontier import records
from frontier.errors import UserError
from frontier.jobs import hopeless
from frontier.plan import model_config, search
from frontier.plan import table as table_module
from frontier.plan.advice import advise, best_micro_batch
from frontier.plan.planner import CONTEXT_GIB, Planner
from frontier.plan.step import emulated_card
from frontier.results import plan_errors
from frontier.study import cards, embedded, plan_requests
from frontier.table_types import PlanRow
from planned import CARD, SMALL, judging, rates, request, rows, shape, small_study
from typed import problems_of_table


@pytest.mark.parametrize(("limit", "expected"), [(10.5, 8), (3.4, 0), (3.5, 1), (1000, 40)])
def test_the_largest_size_that_fits(limit, expected):
    asked = []

    def need(size: int) -> float:
        asked.append(size)
        return 2 + max(size, 0.5 * size + 1)

    assert search.largest(need, limit, start=6, most=40) == expected
    assert len(asked) <= 8


def row_of(planner: Planner, wanted: dict) -> dict:
    row = planner.row(wanted)
    return row | {"best_micro_batch_size": best_micro_batch(planner, wanted, row["largest_batch_that_fits"])}


def test_advice_names_what_would_fit():
    wanted = request(batch=8)
    examples = rows(16, 128)
    planner = Planner(shape(4), examples, CARD, None, None, 0.0)
    planner.limit_gib = 1.0001 * planner.need_gib(request(batch=6), examples[:6])
    row = row_of(planner, wanted)
    assert not row["fits"]
    assert row["largest_batch_that_fits"] == 6
    line = advise(planner, wanted, row)
    assert line.startswith("nf4-r8 does not fit at batch 8; 6 does: with micro_batch_size: 4 it holds ")
    held = float(re.search(r"holds ([\d.]+) GiB", line)[1])
    assert held == pytest.approx(planner.need_gib(request(batch=8, micro_batch_size=4), examples[:4]), abs=0.006)
    planner.limit_gib = 1.0001 * planner.need_gib(wanted, examples[:8])
    row = row_of(planner, wanted)
    assert row["fits"]
    assert advise(planner, wanted, row).startswith("nf4-r8 fits with 0.00 GiB to spare, and the allocator may keep ")
    assert table_module.table(planner, [wanted], judging(planner))[1] == [advise(planner, wanted, row)]
    planner.limit_gib *= 1.07
    assert advise(planner, wanted, row_of(planner, wanted)) is None
    bare, single = request(batch=1, cuda_graphs=False), request(batch=1)
    planner.limit_gib = (planner.need_gib(bare, examples[:1]) + planner.need_gib(single, examples[:1])) / 2
    row = row_of(planner, single)
    assert row["largest_batch_that_fits"] == 0
    assert advise(planner, single, row).endswith("while its steps are recorded; with cuda_graphs: false batch 1 does")
    planner.limit_gib = 0.9 * planner.static_gib(wanted)
    row = row_of(planner, wanted)
    assert row["largest_batch_that_fits"] == 0
    assert "its base alone takes" in advise(planner, wanted, row)


def test_of_seeds_the_one_that_needs_most_has_a_line():
    """They draw different batches, so that one may fit where another does not; recorded steps are the same for all."""
    mixed = [{"input_ids": [1] * length, "labels": [1] * length} for length in range(8, 328, 8)]
    wanted = request(batch=2, cuda_graphs=False)
    seeds = [wanted | {"seed": seed, "run": f"nf4-r8-s{seed}"} for seed in range(3)]
    planner = Planner(shape(4), mixed, CARD, None, None, 0.0)
    needs = [row["predicted_peak_gib"] for row in map(planner.row, seeds)]
    assert min(needs) < 0.999 * max(needs)
    planner.limit_gib = 0.9995 * max(needs)
    table, lines = table_module.table(planner, seeds, judging(planner))
    assert table["run"].tolist() == [one["run"] for one in seeds]
    assert table["predicted_peak_gib"].tolist() == [max(needs)] * 3
    assert table["fits"].tolist() == [False] * 3
    (line,) = lines
    assert line.startswith("nf4-r8 does not fit at batch 2; 1 does: with micro_batch_size: 1 it holds ")


def test_cards_are_found_by_any_of_their_names_and_have_all_figures():
    assert cards.find("NVIDIA GeForce RTX 4050 Laptop GPU")["memory_gib"] == 6
    told = {"Tesla T4": "T4", "NVIDIA A100-SXM4-80GB": "A100 80GB", "NVIDIA H100 80GB HBM3": "H100 SXM"}
    for name, expected in (told | {"NVIDIA A10": "A10", "NVIDIA H200": "H200"}).items():
        assert cards.find(name)["name"] == expected
    assert plan_errors.is_for("T4", "Tesla T4")
    assert not plan_errors.is_for("A100 80GB", "NVIDIA A100 80GB PCIe")
    assert cards.find("auto") is None
    assert cards.find({"memory_gib": 7, "bandwidth_gbs": 1, "half_tflops": 2})["memory_gib"] == 7
    for name in ("3060", "rtx3060", "NVIDIA GeForce RTX 3060"):
        assert cards.find(name)["name"] == "RTX 3060"
    table = cards.table()
    assert len(table) >= 45
    for name, card in table.items():
        rates = () if card.get("maker") == "Apple" else ("half_tflops", "single_tflops", "link_gbs")
        assert all(card[key] > 0 for key in ("memory_gib", "bandwidth_gbs", *rates)), name
        assert card["source"], name
        if rates:
            # The most is a B200's, the least a GeForce's, whose sums in 32 bits are at half of its rate.
            assert 1.8 < card["half_tflops"] / card["single_tflops"] < 31, name
        assert len({cards.normalised_name(one) for one in (name, *card.get("cuda_names", ()))}) == 1, name
    assert len({cards.normalised_name(name) for name in table}) == len(table)
    told = {maker: cards.caution({"maker": maker}) for maker in {card.get("maker") for card in table.values()}}
    assert set(told) == {None, "AMD", "Apple"}
    assert told[None] is None
    assert "no training has been tried" in told["AMD"]
    assert cards.find("Apple M4 Max")["capability"] is None
    with pytest.raises(UserError, match="did you mean RTX 4090"):
        cards.find("RTX 4091")


@pytest.mark.parametrize("text", ["12 GB", "12GB", "12 GiB", "12.0 gb", "12"])
def test_a_memory_is_a_card_of_that_size_and_of_unknown_speed(text):
    found = cards.find(text)
    assert (found["name"], found["memory_gib"]) == ("12 GB", 12.0)
    assert "half_tflops" not in found
    assert cards.find({"memory_gib": 12})["memory_gib"] == 12


@pytest.mark.parametrize("text", ["0 GB", "0"])
def test_a_card_of_no_memory_is_one_line(text):
    with pytest.raises(UserError, match=rf"^config: plan\.card: got {text}, takes a memory above 0, say 12 GB$"):
        cards.find(text)


def test_a_shape_that_needs_a_download_is_one_line(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert model_config.find(embedded.EMBEDDED_MODEL).num_hidden_layers == 30
    with pytest.raises(UserError, match="not known without a download"):
        model_config.find({"source": "hub", "id": "nobody/nothing-at-all", "revision": None})


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"model_type": "gpt7"}, "has no model_type gpt7"),
        ({"model_type": "t5"}, "is an encoder and a decoder"),
        ({"model_type": "llama", "quantization_config": {"quant_method": "gptq"}}, "is quantised already"),
    ],
)
def test_a_downloaded_shape_is_judged_as_the_fetch_judges_it(tmp_path, monkeypatch, options, line):
    """Of a plan that comes before the fetch, as `snakemake results/plan.csv` on a machine that has the files."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--owner--name/snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    section = {"source": "hub", "id": "owner/name", "revision": "a" * 40}
    (snapshot / "config.json").write_text('{"model_type": "llama", "num_hidden_layers": 3}')
    assert model_config.find(section).num_hidden_layers == 3
    (snapshot / "config.json").write_text(json.dumps(options))
    with pytest.raises(UserError, match=line):
        model_config.find(section)


def test_int8_and_bfloat16_on_old_cards_are_one_line_each():
    examples = rows(4, 32)
    old = Planner(shape(2), examples, emulated_card.EmulatedCard(True, (7, 5)), None, None, 0.0)
    frame, lines = table_module.table(old, [request("fp16"), request("bf16"), request("int8")], judging(old))
    assert frame["predicted_peak_gib"].notna().tolist() == [True, False, False]
    assert "does not multiply bfloat16" in lines[0]
    assert "int8" in lines[1]
    with pytest.raises(UserError, match="int8"):
        table_module.table(old, [request("int8")], judging(old))


def test_plan_without_weights_through_snakemake(new_study):
    study = new_study(model=None, plan={"card": "RTX 4050 Laptop"}, ranks=[2])
    study.configure(model={"source": "architecture", "config": SMALL | {"num_hidden_layers": 4}})
    study.run("results/plan.csv", "results/figures/plan.png")
    frame = pd.read_csv(io.StringIO((study.folder / "results/plan.csv").read_text("utf-8")))
    assert tuple(frame.columns) == table_module.COLUMNS
    assert problems_of_table(study.folder / "results/plan.csv", PlanRow) == []
    assert frame["fits"].all()
    assert (frame["predicted_seconds_per_step"] > 0).all()
    assert not (study.folder / "resources").exists()
    assert (study.folder / "results/figures/plan.svg").stat().st_size > 1000


def planned(study: dict, **inputs) -> dict:
    """The one row of results/plan.csv, made in this process and folder."""
    asked = plan_requests.plan_request(study)
    table_module.plan_runs({"request": asked, "input": inputs, "output": {"plan": "plan.csv"}})
    (row,) = pd.read_csv("plan.csv").to_dict("records")
    return row


def test_hours_are_left_empty_where_nobody_knows_how_many_examples_make_an_epoch(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    card = {"plan": {"card": "RTX 4090"}}
    row = planned(small_study(**card, steps=None, epochs=3))
    said = capsys.readouterr().out
    assert "data.max_length, an upper bound; no hours, for epochs counts examples" in said
    assert "None" not in said
    assert pd.isna(row["predicted_hours"])
    assert row["predicted_seconds_per_step"] > 0
    assert row["largest_batch_that_fits"] == 2**15 / 32
    assert hopeless.outcome_of(row, {"memory_gib": None, "hours": 1e-9}) is None
    section = small_study()["data"] | {"train_examples": 4000}
    for counted in (small_study(**card, steps=3000), small_study(**card, steps=None, epochs=3, data=section)):
        other = planned(counted)
        assert other["predicted_hours"] == pytest.approx(3000 * row["predicted_seconds_per_step"] / 3600)
        assert other["predicted_peak_gib"] == row["predicted_peak_gib"]
    assert "no hours" not in capsys.readouterr().out


def test_a_plan_is_for_the_device_that_was_calibrated_wherever_it_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    known = {"name": "NVIDIA H200", "memory_gib": 139.8, "capability": [9, 0], "rates": rates("H200")}
    records.write_json("calibration.json", known)
    row = planned(small_study(), calibration="calibration.json")
    assert row["device"] == "NVIDIA H200"
    assert row["overhead_gib"] >= CONTEXT_GIB
    assert row["predicted_hours"] > 0
    assert "planned for NVIDIA H200 as calibrated, within 139.8 GiB" in capsys.readouterr().out
    records.write_json("calibration.json", known | {"context_gib": CONTEXT_GIB - 0.25})
    measured = planned(small_study(), calibration="calibration.json")
    assert row["overhead_gib"] - measured["overhead_gib"] == pytest.approx(0.25)
    records.write_json("calibration.json", {key: known[key] for key in ("name", "rates")})
    with pytest.raises(UserError, match=r"calibration\.json does not say what device it measured; make it again: "):
        planned(small_study(), calibration="calibration.json")
