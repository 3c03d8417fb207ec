"""What a step is predicted to need and take, held against what steps do."""

import dataclasses
import json
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT
from frontier import records, units
from frontier.machine import environment, launch
from frontier.machine import meter as meter_module
from frontier.model import card, cuda_graphs, packing
from frontier.model import levers as levers_module
from frontier.model.levers import fuse
from frontier.plan import batches, calibration, device_clock, roofline
from frontier.plan import rates as rates_module
from frontier.plan.peak import PAGES_BYTES, predict_peak, regions, worst
from frontier.plan.step import emulated_card, meta_model, passes, traced_graphs, tracer
from frontier.plan.step.trace import build_on_meta, trace_step
from frontier.results import plan_errors
from frontier.study import cards
from planned import CARD, CPU, SMALL, peak, rates, request, rows, shape
from transformers import AutoModelForCausalLM


@pytest.mark.parametrize(
    ("real", "own"), [(card.Card, emulated_card.EmulatedCard), (cuda_graphs.CudaGraphs, traced_graphs.TracedGraphs)]
)
def test_whatever_production_code_asks_of_a_card_a_plan_answers_itself(real, own):
    """What a card is follows from its device, which a plan names."""
    asked = {name for name in vars(real) if not name.startswith("_")} - {"is_cuda"}
    assert asked
    assert asked <= set(vars(own))


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
    trace = trace_step(shape(7), wanted, [packing.collate(examples)], batches.lengths(examples), CARD)
    whole = worst(regions(trace, cuda=True))
    drawn = peak(7, wanted)
    assert drawn.allocated == pytest.approx(whole.allocated, rel=0.01)
    assert drawn.held == pytest.approx(whole.held + PAGES_BYTES, rel=0.02)
    for part in tracer.CATEGORIES:
        assert drawn.parts[part] == pytest.approx(whole.parts[part], abs=0.01 * whole.allocated)


def test_recorded_graphs_take_memory_of_their_own():
    """So much a kernel for each length that rows are padded to: some 25 MiB a length at 7B."""
    mixed = [{"input_ids": [1] * length, "labels": [1] * length} for length in range(16, 336)]

    def graphs(layers: int, examples: list[dict], **levers) -> float:
        row = [packing.collate(examples[:4])]
        return predict_peak(shape(layers), request(**levers), row, batches.lengths(examples), CARD).graphs

    assert graphs(6, rows(8, 64), cuda_graphs=False) == 0
    assert graphs(6, mixed) == pytest.approx(6 * graphs(6, rows(8, 64)), rel=0.05)
    assert 2e5 < graphs(7, rows(8, 64)) - graphs(6, rows(8, 64)) < 2e6


def test_a_decoder_that_no_test_holds_is_not_fused(monkeypatch):
    kinds = {kind: shape(1, model_type=kind, pad_token_id=0) for kind in ("mistral", "phi3", "olmo2")}
    fused = {kind: build_on_meta(one, request("fp16"), CARD)[1]["fused_kernels"] for kind, one in kinds.items()}
    assert fused == {"mistral": True, "phi3": False, "olmo2": False}
    asked = []
    monkeypatch.setattr(levers_module.importlib.util, "find_spec", asked.append)
    with torch.device("meta"):
        models = [AutoModelForCausalLM.from_config(kinds[kind]) for kind in ("phi3", "mistral")]
    assert not fuse(models[0])
    assert not asked
    fuse(models[1])
    assert asked == ["liger_kernel"]


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
    packed = meta_model.packed_weight(blank)
    stood = packed.quant_state
    found = [packed.data, stood.absmax, stood.code, stood.offset, stood.state2.absmax, stood.state2.code]
    assert [(one.numel(), one.dtype) for one in found] == [(one.numel(), one.dtype) for one in real]


def test_what_is_traced_is_what_real_tensors_do():
    """The same recorder over a real step on a CPU sees the same peak."""
    from frontier.model.layers import compute_in
    from frontier.model.loss import token_losses
    from frontier.run import build
    from transformers import AutoModelForCausalLM

    wanted, config, examples = request("fp16"), shape(3), rows(4, 64)
    row = packing.collate(examples)
    predicted = worst(regions(trace_step(config, wanted, [row], [64] * 4, CPU), cuda=False))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float16, attn_implementation=packing.ATTENTION)
    model = build.build_adapter(model.requires_grad_(False), wanted["lora"], 8, 0)
    compute_in(model, torch.float32).train()
    recorder = tracer.Tracer(vocabulary=1000)
    with recorder:
        for there in (*model.parameters(), *model.buffers(), row["input_ids"], row["labels"], row["position_ids"]):
            there.detach()
    recorder.trace.events.clear()
    recorder.phase = "forward"
    with recorder, passes.Passes(recorder):
        (token_losses(model, row).sum() / 9).backward()
    static = sum(predicted.parts[part] for part in ("weights", "adapter", "optimizer"))
    live = most = 0
    for event in recorder.trace.events:
        live += event.size
        most = max(most, live)
    assert predicted.allocated - static == pytest.approx(most, rel=0.02)


def test_a_training_on_a_cpu_grows_by_what_is_planned():
    """In the lesser of two processes: resident memory has pages of files in it too, now and then more of them."""
    sizes = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 6, "vocab_size": 49152}
    wanted = request("fp16", rank=16) | {"device": "cpu"}
    examples = rows(4, 240)
    planned = predict_peak(shape(6, **sizes), wanted, [packing.collate(examples)], [240] * 4, CPU).allocated
    command = [sys.executable, ROOT / "tests/helpers/growth.py"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, env=launch.job_variables({"device": "cpu"}), **pipes) for _ in range(2)]
    job = json.dumps({"config": SMALL | sizes, "request": wanted, "tokens": 240})
    for process in processes:
        process.stdin.write(job)
        process.stdin.close()
    grown = min(float(process.stdout.read().split()[-1]) for process in processes)
    assert [process.wait() for process in processes] == [0, 0]
    assert planned / units.GIB == pytest.approx(grown, rel=0.15)


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
        one = tracer.Operation("aten.mm.default", "forward", torch.float16, size, 2 * tokens * 4096, shapes_)
        return roofline.time([one] * 50, [tokens], rates)

    assert product(8192).limited_by == "compute"
    assert product(8192).seconds == pytest.approx(50 * 2 * 8192 * 4096**2 / (0.7 * 165.2e12), rel=1e-6)
    assert product(32).bandwidth > 0 == product(32).compute


def test_launches_bind_what_is_small_and_take_longer_where_activations_are_computed_twice():
    small = [tracer.Operation("aten.add.Tensor", "forward", torch.float16, 8, 8, [(4,)])] * 50
    rates = roofline.from_datasheet(cards.find("RTX 4090"))
    assert roofline.time(small, [4], rates).limited_by == "launches"
    known = dataclasses.replace(rates, launch_seconds=1e-5, checkpointed_launch_seconds=3e-5)
    assert roofline.time(small, [4], known).seconds == pytest.approx(50 * 1e-5)
    assert roofline.time(small, [4], known, checkpointing=True).seconds == pytest.approx(50 * 3e-5)
    unknown = dataclasses.replace(known, checkpointed_launch_seconds=None)
    assert roofline.time(small, [4], unknown, checkpointing=True).seconds == pytest.approx(50 * 1e-5)


def test_attention_counts_each_example_and_not_the_row():
    shapes_ = [(96, 8, 32)]
    one = tracer.Operation("torch_attn._varlen_attn.default", "forward", torch.float16, 1, 1, shapes_)
    assert roofline.flops(one, [64, 32]) == 4 * (64**2 + 32**2) * 8 * 32


def test_a_calibration_tells_every_rate_that_a_plan_asks_for(monkeypatch):
    monkeypatch.setattr(device_clock, "_SECONDS", 0.002)
    found = rates_module.measure_device(torch.device("cpu"))
    rates = roofline.from_calibration(json.loads(json.dumps(found)))
    assert not rates.asynchronous
    assert min(rates.launch_seconds, rates.checkpointed_launch_seconds, rates.kernel_seconds) > 0
    for points in (*rates.matmul.values(), rates.attention, rates.traffic, rates.dequantize):
        assert all(rate > 0 for _, rate in points)
        assert [size for size, _ in points] == sorted(size for size, _ in points)


@pytest.mark.parametrize(
    ("source", "told"), [(meter_module.PROCESS, True), (meter_module.RISE, False), (meter_module.DEVICE, False)]
)
def test_a_calibration_measures_the_context_where_neighbours_are_no_part_of_it(tmp_path, monkeypatch, source, told):
    meter = SimpleNamespace(source=source, outside=2**29, watch=nullcontext)
    monkeypatch.setattr(calibration, "open_meter", lambda device: meter)
    monkeypatch.setattr(calibration, "measure_device", lambda device: rates("RTX 4090"))
    job = {"request": {"device": "cpu", "cpu_threads": 1}, "output": {"calibration": str(tmp_path / "it.json")}}
    calibration.calibrate_device(job)
    assert records.read_json(tmp_path / "it.json").get("context_gib") == (0.5 if told else None)


def test_a_calibration_says_what_device_it_is_of(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "measure_device", lambda device: rates("RTX 4090"))
    job = {"request": {"device": "cpu", "cpu_threads": 1}, "output": {"calibration": str(tmp_path / "it.json")}}
    calibration.calibrate_device(job)
    found = records.read_json(tmp_path / "it.json")
    assert plan_errors.is_for(found["name"], environment.describe_environment(torch.device("cpu"), "")["device"])
    assert found["capability"] is None
    assert found["memory_gib"] > 0.5
