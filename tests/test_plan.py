"""The plan: what a step is predicted to need and take, and what is made of that."""

import io
import json
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
    emulation,
    findings,
    foresight,
    hindsight,
    launch,
    memory,
    plan,
    recording,
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
    return memory.peak(shape(layers), wanted, [batches.collate(examples)], batches.lengths(examples), device)


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
    trace = tracing.trace(shape(7), wanted, [batches.collate(examples)], batches.lengths(examples), CARD)
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
    from frontier import layers, packing, training
    from frontier.loss import token_losses
    from transformers import AutoModelForCausalLM

    wanted, config, examples = request("fp16"), shape(3), rows(4, 64)
    row = batches.collate(examples)
    predicted = memory.worst(memory.regions(tracing.trace(config, wanted, [row], [64] * 4, CPU), cuda=False))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float16, attn_implementation=packing.ATTENTION)
    model = training.build_adapter(model.requires_grad_(False), wanted["lora"], 8, 0)
    layers.compute_in(model, torch.float32).train()
    recorder = recording.Recorder(vocabulary=1000)
    recorder.expect([*model.parameters(), *model.buffers(), row["input_ids"], row["labels"], row["position_ids"]])
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
    sizes = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 12, "vocab_size": 8000}
    wanted = request("fp16", rank=16) | {"device": "cpu"}
    examples = rows(4, 240)
    planned = memory.peak(shape(12, **sizes), wanted, [batches.collate(examples)], [240] * 4, CPU).allocated
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "growth.py"],
        input=json.dumps({"config": SMALL | sizes, "request": wanted, "tokens": 240}),
        env=launch.environment({"device": "cpu"}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert planned / memory.GIB == pytest.approx(float(done.stdout.split()[-1]), rel=0.15)


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


def test_the_batches_are_those_that_a_run_draws():
    from frontier import training

    examples = [{"input_ids": [1] * length, "labels": [1] * length} for length in range(10, 31)]
    wanted = request(batch=4) | {"seed": 3}
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
    study = new_study(model=None, plan={"card": "RTX 4050 Laptop"}, ranks=[2, 4])
    study.configure(model={"source": "architecture", "config": SMALL | {"num_hidden_layers": 4}})
    study.run("results/plan.csv", "results/figures/plan.png")
    frame = pd.read_csv(io.StringIO((study.folder / "results/plan.csv").read_text("utf-8")))
    assert tuple(frame.columns) == plan.COLUMNS
    assert frame["fits"].all()
    assert (frame["predicted_seconds_per_step"] > 0).all()
    assert not (study.folder / "resources").exists()
    assert (study.folder / "results/figures/plan.svg").stat().st_size > 1000


def test_an_unknown_card_is_one_line(new_study):
    study = new_study(plan={"card": "RTX 9999 Imaginary"})
    done = study.snakemake("--cores", "1", "results/plan.csv")
    assert done.returncode != 0
    assert "config: plan.card: got RTX 9999 Imaginary" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_hopeless_run_is_not_started_and_says_so(new_study):
    run = "results/runs/nf4-r2-s0/training.json"
    study = new_study(precisions=["nf4"], ranks=[2], plan={"card": "RTX 4050 Laptop"}, skip_hopeless=True)
    study.configure(budget={"memory_gib": 0.5})
    study.run(run)
    record = json.loads((study.folder / run).read_text("utf-8"))
    outcome = record["outcome"]
    assert (outcome["status"], outcome["basis"]) == ("oom", "predicted")
    assert "not started" in outcome["reason"]
    assert record["environment"] is None
    assert "train_seconds" not in outcome
    assert study.plan(run) == {}
    study.configure(budget={"memory_gib": 4.0})
    assert "train_adapter" in study.plan(run)
    study.configure(skip_hopeless=False)
    assert "train_adapter" in study.plan(run)


def test_a_summary_holds_the_plan_against_what_was_measured_on_its_device():
    measured = {"run": ["nf4-r8-s0"], "device": ["NVIDIA H200"], "memory_metric": ["cuda_allocated"]}
    frame = pd.DataFrame(measured | {"peak_allocated_gib": [5.0], "steps": [10], "train_seconds": [20.0]})
    row = {"run": "nf4-r8-s0", "predicted_peak_gib": 5.1, "overhead_gib": 0.6, "predicted_seconds_per_step": 1.8}
    joined = summary.join_plan(frame, pd.DataFrame([row]), "auto").iloc[0]
    assert joined["predicted_peak_error"] == pytest.approx(0.02)
    assert joined["predicted_seconds_error"] == pytest.approx(-0.1)
    assert summary.join_plan(frame, pd.DataFrame([row]), "H200").iloc[0]["predicted_seconds"] == 18.0
    assert "predicted_seconds" not in summary.join_plan(frame, pd.DataFrame([row]), "RTX 4090")


def test_no_finding_rests_on_a_prediction():
    table = pd.DataFrame({"run": ["a", "b"], "status": ["oom", "ok"], "basis": ["predicted", "measured"]})
    assert findings.measured(table)["run"].tolist() == ["b"]
