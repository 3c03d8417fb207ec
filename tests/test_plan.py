"""The plan: what a step is predicted to need and take, and what is made of that."""

import dataclasses
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny
import torch
from frontier import (
    batches,
    blanks,
    calibration,
    cards,
    data,
    emulation,
    findings,
    foresight,
    hindsight,
    launch,
    measure,
    memory,
    outcomes,
    packing,
    plan,
    prepare,
    recording,
    records,
    roofline,
    search,
    shapes,
    summary,
    tracing,
)
from frontier import config as settings
from frontier.errors import UserError
from transformers import AutoConfig

CARD = emulation.Device(True, (8, 9))
CPU = emulation.Device(False)
SMALL = {
    "model_type": "mistral",
    "vocab_size": 1000,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "sliding_window": None,
    "tie_word_embeddings": False,
}


def shape(layers: int, **changes):
    return AutoConfig.for_model(**SMALL | changes | {"num_hidden_layers": layers})


def request(precision="nf4", rank=8, batch=4, **training) -> dict:
    study = settings.resolve(
        {
            "model": {"source": "architecture", "config": {"model_type": "llama"}},
            "data": {"source": "reasoning-gym", "train_examples": 8, "validation_examples": 8},
            "precisions": [precision],
            "ranks": [rank],
            "steps": 3,
            "batch_size": batch,
            **training,
        }
    )
    return settings.training_request(study, f"{precision}-r{rank}-s0")


def rows(count: int, length: int) -> list[dict]:
    return [{"input_ids": [1] * length, "labels": [-100] * (length // 2) + [1] * (length - length // 2)}] * count


def peak(layers: int, wanted: dict, device=CARD, length=64) -> memory.Peak:
    examples = rows(wanted["training"]["batch_size"], length)
    return memory.peak(shape(layers), wanted, [packing.collate(examples)], batches.lengths(examples), device)


@pytest.mark.parametrize("precision", ["fp16", "nf4"])
@pytest.mark.parametrize(
    "levers",
    [
        {"cuda_graphs": False, "fused_kernels": False},
        {"cuda_graphs": False, "gradient_checkpointing": True},
        {"cuda_graphs": True, "gradient_checkpointing": True},
    ],
)
def test_few_layers_drawn_out_give_what_all_of_them_do(precision, levers):
    wanted = request(precision, **levers)
    examples = rows(4, 64)
    trace = tracing.trace(shape(7), wanted, [packing.collate(examples)], batches.lengths(examples), CARD)
    whole = memory.worst(memory.regions(trace, cuda=True))
    drawn = peak(7, wanted)
    assert drawn.allocated == pytest.approx(whole.allocated, rel=0.01)
    assert drawn.held == pytest.approx(whole.held, rel=0.02)
    for part in recording.CATEGORIES:
        assert drawn.parts[part] == pytest.approx(whole.parts[part], abs=0.01 * whole.allocated)


def test_weights_and_adapter_are_counted_to_the_byte():
    found = peak(3, request("fp16", rank=4), CPU).parts
    config = shape(3)
    attention = 256 * (256 + 64 + 64) + 256 * 256
    layer = attention + 3 * 256 * 512 + 2 * 256
    half = 2 * (2 * 1000 * 256 + 3 * layer + 256)
    buffers = 4 * (config.hidden_size // config.num_attention_heads) // 2
    assert half <= found["weights"] <= half + 4 * buffers + 4096
    pairs = 2 * (256 + 256) + 2 * (256 + 64) + 3 * (256 + 512)
    assert found["adapter"] == 3 * pairs * 4 * 4
    assert found["optimizer"] == pytest.approx(2 * found["adapter"], rel=0.01)


def test_nf4_base_has_the_storage_that_bitsandbytes_gives(monkeypatch):
    import bitsandbytes as bnb

    layer = bnb.nn.Linear4bit(256, 512, bias=False, compress_statistics=True, quant_type="nf4").to("cpu")
    layer.weight = layer.weight.to("cpu")
    state = layer.weight.quant_state
    real = [layer.weight.data, state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code]
    with torch.device("meta"):
        blank = bnb.nn.Linear4bit(256, 512, bias=False, compress_statistics=True, quant_type="nf4")
    blank.weight.quant_state = state
    packed = blanks.packed_weight(blank)
    stood = packed.quant_state
    found = [packed.data, stood.absmax, stood.code, stood.offset, stood.state2.absmax, stood.state2.code]
    assert [(one.numel(), one.dtype) for one in found] == [(one.numel(), one.dtype) for one in real]


def test_what_is_traced_is_what_real_tensors_do():
    """The same recorder over a real step on a CPU sees the same peak."""
    from frontier import layers, training
    from frontier.loss import token_losses
    from transformers import AutoModelForCausalLM

    wanted, config, examples = request("fp16"), shape(3), rows(4, 64)
    row = packing.collate(examples)
    predicted = memory.worst(memory.regions(tracing.trace(config, wanted, [row], [64] * 4, CPU), cuda=False))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float16, attn_implementation=packing.ATTENTION)
    model = training.build_adapter(model.requires_grad_(False), wanted["lora"], 8, 0)
    layers.compute_in(model, torch.float32).train()
    recorder = recording.Recorder(vocabulary=1000)
    with recorder:
        for there in (*model.parameters(), *model.buffers(), row["input_ids"], row["labels"], row["position_ids"]):
            there.detach()
    recorder.trace.events.clear()
    recorder.phase = "forward"
    with recorder, emulation.passes(recorder):
        (token_losses(model, row).sum() / 9).backward()
    static = sum(predicted.parts[part] for part in ("weights", "adapter", "optimizer"))
    live = most = 0
    for event in recorder.trace.events:
        live += event.size
        most = max(most, live)
    assert predicted.allocated - static == pytest.approx(most, rel=0.02)


def test_a_calibration_tells_every_rate_that_a_plan_asks_for(monkeypatch):
    monkeypatch.setattr(calibration, "_SECONDS", 0.002)
    found = calibration.measure_device(torch.device("cpu"))
    rates = roofline.from_calibration(json.loads(json.dumps(found)))
    assert not rates.asynchronous
    assert min(rates.launch_seconds, rates.kernel_seconds) > 0
    for points in (*rates.matmul.values(), rates.attention, rates.traffic, rates.dequantize):
        assert all(rate > 0 for _, rate in points)
        assert [size for size, _ in points] == sorted(size for size, _ in points)


def test_a_training_on_a_cpu_grows_by_what_is_planned():
    """In the lesser of two processes: resident memory has pages of files in it too, now and then more of them."""
    sizes = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 6, "vocab_size": 49152}
    wanted = request("fp16", rank=16) | {"device": "cpu"}
    examples = rows(4, 240)
    planned = memory.peak(shape(6, **sizes), wanted, [packing.collate(examples)], [240] * 4, CPU).allocated
    command = [sys.executable, Path(__file__).parent / "growth.py"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, env=launch.environment({"device": "cpu"}), **pipes) for _ in range(2)]
    job = json.dumps({"config": SMALL | sizes, "request": wanted, "tokens": 240})
    for process in processes:
        process.stdin.write(job)
        process.stdin.close()
    grown = min(float(process.stdout.read().split()[-1]) for process in processes)
    assert [process.wait() for process in processes] == [0, 0]
    assert planned / outcomes.GIB == pytest.approx(grown, rel=0.15)


def test_memory_rises_with_batch_length_and_rank_and_falls_with_checkpointing():
    base = peak(4, request()).allocated
    assert peak(4, request(batch=8)).allocated > base
    assert peak(4, request(), length=128).allocated > base
    assert peak(4, request(rank=64)).allocated > base
    assert peak(4, request(gradient_checkpointing=True)).allocated < base
    assert peak(4, request("fp16")).parts["weights"] > 2 * peak(4, request()).parts["weights"]


def test_a_product_is_bound_by_arithmetic_when_square_and_by_traffic_when_thin():
    rates = roofline.from_datasheet(cards.find("RTX 4090"))

    def product(tokens: int) -> roofline.Time:
        size = 2 * (tokens * 4096 + 4096 * 4096)
        shapes_ = [(tokens, 4096), (4096, 4096)]
        one = recording.Operation("aten.mm.default", "forward", torch.float16, size, 2 * tokens * 4096, shapes_)
        return roofline.time([one] * 50, [tokens], rates)

    assert product(8192).limited_by == "compute"
    assert product(8192).seconds == pytest.approx(50 * 2 * 8192 * 4096**2 / (0.7 * 165.2e12), rel=1e-6)
    assert product(32).bandwidth > 0 == product(32).compute
    assert (
        roofline.time(
            [recording.Operation("aten.add.Tensor", "forward", torch.float16, 8, 8, [(4,)])] * 50, [4], rates
        ).limited_by
        == "launches"
    )


def test_attention_counts_each_example_and_not_the_row():
    shapes_ = [(96, 8, 32)]
    one = recording.Operation("torch_attn._varlen_attn.default", "forward", torch.float16, 1, 1, shapes_)
    assert roofline.flops(one, [64, 32]) == 4 * (64**2 + 32**2) * 8 * 32


@pytest.mark.parametrize(("limit", "expected"), [(10.5, 8), (3.4, 0), (3.5, 1), (1000, 40)])
def test_the_largest_size_that_fits(limit, expected):
    asked = []

    def need(size: int) -> float:
        asked.append(size)
        return 2 + max(size, 0.5 * size + 1)

    assert search.largest(need, limit, start=6, most=40) == expected
    assert len(asked) <= 8


def test_advice_names_what_would_fit():
    wanted = request(batch=8)
    examples = rows(16, 128)
    planner = plan.Planner(shape(4), examples, CARD, None, None, 0.0)
    planner.limit_gib = 1.0001 * planner.need_gib(request(batch=6), examples[:6])
    row = planner.row(wanted)
    assert not row["fits"]
    assert row["largest_batch_that_fits"] == 6
    assert planner.advice(wanted, row) == "nf4-r8 does not fit at batch 8; 6 does"
    planner.limit_gib = 0.9 * planner.static_gib(wanted)
    row = planner.row(wanted)
    assert row["largest_batch_that_fits"] == 0
    assert "its base alone takes" in planner.advice(wanted, row)


@pytest.mark.parametrize("options", [{}, {"micro_batch_size": 2, "steps": 8}])
def test_the_batches_are_those_that_a_run_draws(options):
    """Of one epoch, and of more, each of which ends in a step of fewer micro-batches."""
    from frontier import training

    examples = [{"input_ids": [1] * length, "labels": [1] * length} for length in range(10, 31)]
    wanted = request(batch=4, **options) | {"seed": 3}
    drawn = [sum(batches.lengths(batch)) for batch in batches.draw(examples, wanted)]
    seen = []

    class Watching(training.AnswerTrainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            seen.append(inputs["input_ids"].numel())
            return super().training_step(model, inputs, num_items_in_batch)

    options = dict(tiny.CONFIG)
    from transformers import AutoModelForCausalLM

    config = AutoConfig.for_model(options.pop("model_type"), **options)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="packed").requires_grad_(False)
    model = training.build_adapter(model, wanted["lora"], 2, 3)
    arguments = training.trainer_arguments(wanted, torch.device("cpu"), torch.float32, "unused")
    clock = training.Clock("x", torch.device("cpu"))
    Watching(model=model, args=arguments, train_dataset=examples, clock=clock).train()
    assert seen == drawn


def test_all_that_a_run_draws_is_looked_at():
    examples = [{"input_ids": [1], "labels": [1]} for _ in range(5000)]
    drawn = batches.draw(examples, request(batch=1, steps=None, epochs=1))
    assert len({id(row) for batch in drawn for row in batch}) == 5000


@pytest.mark.parametrize(
    "section",
    [
        {"source": "reasoning-gym", "train_examples": 8, "validation_examples": 2},
        {"source": "jsonl", "train_file": "train.jsonl"},
        {"source": "hub", "id": "owner/name"},
    ],
    ids=lambda section: section["source"],
)
def test_the_tokens_that_are_there_are_used_where_they_are_of_this_data(section, tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = data.read_lines(str(tiny.write_sums(tmp_path / "train.jsonl", 8, 0)))
    monkeypatch.setattr(data, "read_examples", lambda section: ({"train": texts, "validation": texts[:2]}, {}))
    study = settings.resolve({"model": {"source": "path", "path": str(tiny_model)}, "data": section, "steps": 2})
    examples = {"train": "read-train.jsonl", "validation": "read-validation.jsonl", "examples": "examples.json"}
    tokens = {name: f"tokens/{name}.parquet" for name in ("train", "validation")} | {"tokens": "tokens/tokens.json"}
    model = {"model": study["model"], "tokenizer_model": settings.EMBEDDED_MODEL}
    (tmp_path / "tokens").mkdir()
    prepare.fetch_model({"request": model, "output": {"model": "model.json"}})
    prepare.fetch_data({"request": settings.data_request(study), "output": examples})
    inputs = examples | {"model": "model.json"}
    prepare.tokenize_data({"request": settings.tokens_request(study), "input": inputs, "output": tokens})

    def known(**changes) -> str:
        return batches.examples(study | {"data": study["data"] | changes}, tmp_path)[1]

    assert known() == "tokens"
    assert known(**dict.fromkeys(set(study["data"]) & {"test_file", "test_split"}, "test")) == "tokens"
    for change in ({"max_length": 64}, {"template": "{question}"}, {"train_examples": 7}, {"answer_column": "text"}):
        assert known(**change) != "tokens"
    if "train_file" in section:
        note = (tmp_path / "tokens/tokens.json").stat()
        os.utime(tmp_path / "train.jsonl", (note.st_atime, note.st_mtime + 10))
        assert known() == "texts"


@pytest.mark.parametrize(
    ("changes", "status", "phase"),
    [
        ({}, None, None),
        ({"predicted_peak_gib": 6.2}, None, None),
        ({"predicted_peak_gib": 9.0}, "oom", "train"),
        ({"predicted_peak_gib": 14.0, "weights_gib": 13.5}, "oom", "load"),
        ({"predicted_hours": 13.0}, None, None),
        ({"predicted_hours": 31.0}, "over_time", "train"),
        ({"predicted_peak_gib": float("nan"), "predicted_hours": float("nan")}, None, None),
    ],
)
def test_only_what_is_far_beyond_the_budget_is_hopeless(changes, status, phase):
    row = {"predicted_peak_gib": 4.0, "overhead_gib": 0.6, "weights_gib": 3.6, "predicted_hours": 2.0} | changes
    outcome = foresight.hopeless(row, {"memory_gib": 6, "hours": 12})
    if status is None:
        assert outcome is None
    else:
        assert (outcome["status"], outcome["phase"], outcome["basis"]) == (status, phase, "predicted")
        assert "not started" in outcome["reason"]
    assert foresight.hopeless(row, {"memory_gib": None, "hours": None}) is None


def test_errors_compare_like_with_like():
    row = {"predicted_peak_gib": 4.2, "overhead_gib": 0.5, "predicted_seconds_per_step": 2.0}
    card = {"memory_metric": "cuda_allocated", "peak_allocated_gib": 4.0, "steps": 10, "train_seconds": 25.0}
    found = hindsight.compared(row, card)
    assert found["predicted_peak_error"] == pytest.approx(0.05)
    assert found["predicted_seconds"] == 20.0
    assert found["predicted_seconds_error"] == pytest.approx(-0.2)
    host = {"memory_metric": "host_rss", "peak_host_gib": 4.7, "steps": None, "train_seconds": None}
    assert hindsight.compared(row, host)["predicted_peak_error"] == pytest.approx(0.0)
    assert hindsight.compared(row, host)["predicted_seconds"] is None


def test_cards_are_found_by_any_of_their_names_and_have_all_figures():
    assert cards.find("NVIDIA GeForce RTX 4050 Laptop GPU")["memory_gib"] == 6
    assert cards.find("auto") is None
    assert cards.find({"memory_gib": 7, "bandwidth_gbs": 1, "half_tflops": 2})["memory_gib"] == 7
    table = cards.table()
    assert len(table) >= 15
    for name, card in table.items():
        assert all(card[key] > 0 for key in cards.FIGURES), name
        assert card["source"], name
    with pytest.raises(UserError, match="did you mean RTX 4090"):
        cards.find("RTX 4091")


def test_a_shape_that_needs_a_download_is_one_line():
    assert shapes.find(settings.EMBEDDED_MODEL).num_hidden_layers == 30
    with pytest.raises(UserError, match="not known without a download"):
        shapes.find({"source": "hub", "id": "nobody/nothing-at-all", "revision": None})


def test_int8_and_bfloat16_on_old_cards_are_one_line_each():
    examples = rows(4, 32)
    old = plan.Planner(shape(2), examples, emulation.Device(True, (7, 5)), None, None, 0.0)
    frame, lines = plan.table(old, [request("fp16"), request("bf16"), request("int8")])
    assert frame["predicted_peak_gib"].notna().tolist() == [True, False, False]
    assert "does not multiply bfloat16" in lines[0]
    assert "int8" in lines[1]
    with pytest.raises(UserError, match="int8"):
        plan.table(old, [request("int8")])


def test_plan_without_weights_through_snakemake(new_study):
    study = new_study(model=None, plan={"card": "RTX 4050 Laptop"}, ranks=[2])
    study.configure(model={"source": "architecture", "config": SMALL | {"num_hidden_layers": 4}})
    study.run("results/plan.csv", "results/figures/plan.png")
    frame = pd.read_csv(io.StringIO((study.folder / "results/plan.csv").read_text("utf-8")))
    assert tuple(frame.columns) == plan.COLUMNS
    assert frame["fits"].all()
    assert (frame["predicted_seconds_per_step"] > 0).all()
    assert not (study.folder / "resources").exists()
    assert (study.folder / "results/figures/plan.svg").stat().st_size > 1000


def test_a_hopeless_run_is_not_started_and_says_so(new_study):
    run = "results/runs/fp16-r2-s0/training.json"
    study = new_study(precisions=["fp16"], ranks=[2], plan={"card": "RTX 4050 Laptop"}, skip_hopeless=True)
    study.configure(budget={"memory_gib": 0.5})
    study.run(run)
    record = json.loads((study.folder / run).read_text("utf-8"))
    outcome = record["outcome"]
    assert (outcome["status"], outcome["basis"]) == ("oom", "predicted")
    assert "not started" in outcome["reason"]
    assert record["environment"] is None
    assert "train_seconds" not in outcome
    assert study.plan(run) == {}
    study.configure(skip_hopeless=False)
    assert "train_adapter" in study.plan(run)


def test_the_key_makes_again_what_was_given_up_by_it_and_nothing_that_was_measured():
    budget = {"memory_gib": 6, "hours": None}

    def tracked(record, skip: bool, **changes):
        return settings.tracked_budget({"budget": budget | changes, "skip_hopeless": skip}, record, skips=True)

    def left(by: dict, **outcome) -> dict:
        return {"outcome": {"status": "oom"} | outcome, "tracked": by}

    on, off = tracked(None, skip=True), tracked(None, skip=False)
    assert off == budget != on
    given_up = left(on, basis="predicted")
    assert tracked(given_up, skip=True) == on
    assert tracked(given_up, skip=False) == off
    assert tracked(given_up, skip=True, memory_gib=7) not in (on, off)
    for by in (on, off):
        for skip in (True, False):
            assert tracked(left(by), skip) == tracked(left(by, status="ok"), skip) == by
            assert tracked(left(by), skip, memory_gib=7) not in (on, off)
            assert tracked(left(by, status="ok"), skip, memory_gib=7) == by


def rates(name: str) -> dict:
    return dataclasses.asdict(roofline.from_datasheet(cards.find(name)))


def small_study(**changes) -> dict:
    given = {"model": {"source": "architecture", "config": SMALL | {"num_hidden_layers": 1}}, "steps": 3}
    given["data"] = {"source": "hub", "id": "owner/name", "max_length": 32}
    return settings.resolve(given | {"precisions": ["fp16"], "ranks": [8]} | changes)


def planned(study: dict, **inputs) -> dict:
    """The one row of results/plan.csv, made in this process and folder."""
    plan.run({"request": settings.plan_request(study), "input": inputs, "output": {"plan": "plan.csv"}})
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
    assert foresight.hopeless(row, {"memory_gib": None, "hours": 1e-9}) is None
    section = small_study()["data"] | {"train_examples": 4000}
    for counted in (small_study(**card, steps=3000), small_study(**card, steps=None, epochs=3, data=section)):
        other = planned(counted)
        assert other["predicted_hours"] == pytest.approx(3000 * row["predicted_seconds_per_step"] / 3600)
        assert other["predicted_peak_gib"] == row["predicted_peak_gib"]
    assert "no hours" not in capsys.readouterr().out


def test_a_calibration_says_what_device_it_is_of(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "measure_device", lambda device: rates("RTX 4090"))
    job = {"request": {"device": "cpu", "cpu_threads": 1}, "output": {"calibration": str(tmp_path / "it.json")}}
    calibration.run(job)
    found = records.read_json(tmp_path / "it.json")
    assert hindsight.is_for(found["name"], measure.environment(torch.device("cpu"), "")["device"])
    assert found["capability"] is None
    assert found["memory_gib"] > 0.5


def test_a_plan_is_for_the_device_that_was_calibrated_wherever_it_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    known = {"name": "NVIDIA H200", "memory_gib": 139.8, "capability": [9, 0], "rates": rates("H200")}
    records.write_json("calibration.json", known)
    row = planned(small_study(), calibration="calibration.json")
    assert row["device"] == "NVIDIA H200"
    assert row["overhead_gib"] >= plan.CONTEXT_GIB
    assert row["predicted_hours"] > 0
    assert "planned for NVIDIA H200 as calibrated, within 139.8 GiB" in capsys.readouterr().out
    records.write_json("calibration.json", {key: known[key] for key in ("name", "rates")})
    with pytest.raises(UserError, match=r"calibration\.json does not say what device it measured; make it again: "):
        planned(small_study(), calibration="calibration.json")


def test_a_run_is_foretold_for_its_own_device_by_what_was_measured_on_it(tmp_path, monkeypatch):
    """Whatever card is in the machine, and whatever an earlier calibration was of."""
    monkeypatch.chdir(tmp_path)
    cpu = {"name": measure.environment(torch.device("cpu"), "")["device"]}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def foretold(calibrated: dict, card="auto") -> dict:
        study = small_study(device="cpu", cpu_threads=1, plan={"card": card})
        records.write_json("results/calibration.json", calibrated | {"rates": rates("H200")})
        job = {"request": settings.plan_request(study), "run": "fp16-r8-s0", "output": {"row": "row.json"}}
        plan.foretell(job)
        return records.read_json("row.json")

    ours, other = foretold(cpu), foretold({"name": "NVIDIA H200"})
    assert ours["device"] == other["device"] == cpu["name"]
    assert ours["predicted_peak_gib"] == other["predicted_peak_gib"]
    assert ours["predicted_hours"] > 0
    assert other["predicted_hours"] is None
    named = [foretold(calibrated, card="T4")["predicted_hours"] for calibrated in (cpu, {"name": "Tesla T4"})]
    assert named[0] == named[1] > 0


def test_a_summary_holds_the_plan_against_what_was_measured_on_its_device():
    measured = {"run": ["nf4-r8-s0"], "device": ["NVIDIA H200"], "memory_metric": ["cuda_allocated"]}
    frame = pd.DataFrame(measured | {"peak_allocated_gib": [5.0], "steps": [10], "train_seconds": [20.0]})
    row = {"run": "nf4-r8-s0", "predicted_peak_gib": 5.1, "overhead_gib": 0.6, "predicted_seconds_per_step": 1.8}

    def joined(device: str | None) -> pd.DataFrame:
        return summary.join_plan(frame, pd.DataFrame([row | {"device": device}]))

    found = joined("H200").iloc[0]
    assert found["predicted_peak_error"] == pytest.approx(0.02)
    assert found["predicted_seconds_error"] == pytest.approx(-0.1)
    assert found["predicted_seconds"] == 18.0
    for other in ("RTX 4090", "NVIDIA H100", "card of one's own", None):
        assert "predicted_seconds" not in joined(other)


def test_no_finding_rests_on_a_prediction():
    table = pd.DataFrame({"run": ["a", "b"], "status": ["oom", "ok"], "basis": ["predicted", "measured"]})
    assert findings.measured(table)["run"].tolist() == ["b"]
