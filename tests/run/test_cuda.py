"""What a GPU computes in its own ways (one attention kernel, recorded steps, fused kernels) against references."""

import math
import subprocess
import sys
from contextlib import contextmanager

import bitsandbytes as bnb
import pytest
import torch
from frontier import records
from frontier.machine import launch
from frontier.machine.meter import PROCESS, RISE, Meter, open_meter
from frontier.model import cache as cache_module
from frontier.model import captured_step, layers, packing, prepare
from frontier.model.data.tokens import IGNORED
from frontier.model.dense import dense_weight
from frontier.model.levers import DECODERS, offload_embeddings
from frontier.model.loss import token_losses
from frontier.plan import rates
from frontier.run import prove
from frontier.run.guard import Guard
from job_doubles import OUTPUTS, Job, start
from safetensors.torch import load_file
from small_models import gradients, make_model
from test_training import cache, evaluate, job_of, train  # noqa: F401
from test_training import material as material_of_a_cpu  # noqa: F401
from torch import nn
from transformers.models.llama import modeling_llama

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEVICE = torch.device("cuda", 0)
KINDS = DECODERS


@pytest.fixture(scope="module")
def material(material_of_a_cpu):  # noqa: F811
    """The tiny model's bases and tokens, with a proof that holds on the GPU, or each training would make its own."""
    _, paths = material_of_a_cpu
    prove.prove_model({"request": {"device": "cuda", "cpu_threads": None}, "input": paths, "output": paths})
    return material_of_a_cpu


@pytest.fixture(autouse=True)
def _unfused_afterwards():
    """liger-kernel replaces names in transformers' modules, which tests on the CPU use after these."""
    names = dict(vars(modeling_llama))
    yield
    vars(modeling_llama).update(names)


def draw(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for length in lengths:
        ids = torch.randint(1, 100, (length,), generator=generator).tolist()
        prompt = max(1, length // 3)
        rows.append({"input_ids": ids, "labels": [IGNORED] * prompt + ids[prompt:]})
    return rows


def on_device(batch):
    return {key: value.to(DEVICE) if torch.is_tensor(value) else value for key, value in batch.items()}


def distance(ours, reference) -> float:
    """Relative distance of lists of tensors, in float64."""
    pairs = [(a.detach().double().cpu(), b.detach().double().cpu()) for a, b in zip(ours, reference, strict=True)]
    return math.sqrt(sum((a - b).square().sum() for a, b in pairs) / sum(b.square().sum() for _, b in pairs))


def singles_in_float64(kind, examples):
    """Losses and gradients of the examples one by one, by transformers' eager attention on the CPU."""
    model = make_model(kind, "eager").double()
    losses = []
    for example in examples:
        labels = torch.tensor(example["labels"])[1:]
        logits = model(input_ids=torch.tensor([example["input_ids"]]), use_cache=False).logits[0, :-1]
        kept = labels != IGNORED
        losses.append(nn.functional.cross_entropy(logits[kept], labels[kept], reduction="none"))
    torch.cat(losses).sum().backward()
    return torch.cat(losses), gradients(model)


def packed(kind, dtype):
    return layers.compute_in(make_model(kind, packing.ATTENTION).to(DEVICE), dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
def test_packed_losses_and_gradients_are_those_of_single_examples(kind, dtype, tolerance):
    examples = draw([9, 21, 1, 14, 60])
    losses, expected = singles_in_float64(kind, examples)
    model = packed(kind, dtype)
    found = token_losses(model, on_device(packing.collate(examples)))
    found.sum().backward()
    assert distance([found], [losses]) < tolerance
    assert distance(gradients(model), expected) < tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_example_does_not_see_its_neighbours(dtype):
    model = packed("llama", dtype)
    first, second, other = draw([33]), draw([40], seed=1), draw([33], seed=2)
    with torch.no_grad():
        before = token_losses(model, on_device(packing.collate(first + second)))
        after = token_losses(model, on_device(packing.collate(other + second)))
    count = sum(label != IGNORED for label in second[0]["labels"])
    assert torch.equal(before[-count:], after[-count:])
    assert not torch.equal(before[:-count], after[:-count])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("offloading", [False, True])
def test_recorded_steps_are_the_plain_ones(kind, checkpointing, offloading, monkeypatch):
    """Several lengths, some met again, fewer examples than most, gradients that add up, and one row in two parts."""
    monkeypatch.setattr(captured_step, "_EMBEDDED_AT_ONCE", 48)
    plain, model = packed(kind, torch.bfloat16).train(), packed(kind, torch.bfloat16).train()
    if checkpointing:
        options = {"use_reentrant": False, "preserve_rng_state": False}
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    assert offload_embeddings(model) if offloading else True
    lengths = [20] * 500 + list(range(10, 40)) + [64]
    captured = captured_step.CapturedStep(model, lengths, examples=4)
    steps = [[20, 20, 20, 20], [39, 30], [20, 21, 20, 20], [64, 30], [9, 8, 20, 37], [64, 64, 64, 60], [33, 21, 20, 11]]
    assert sum(steps[-2]) > captured.lengths[-1]
    for seed, row in enumerate(steps):
        batch = on_device(packing.collate(draw(row, seed)))
        factor = torch.tensor(0.5 + seed, device=DEVICE)
        expected = token_losses(plain, batch).sum()
        (expected * factor).backward()
        found = captured(batch, factor)
        assert distance([found], [expected]) < 1e-2
        assert distance(gradients(model), gradients(plain)) < 3e-2
        if seed != 1:  # the second step's gradients stay, and the third's are added to them
            model.zero_grad()
            plain.zero_grad()
    assert 2 <= len(captured.captured) < len(steps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_nf4_on_the_gpu_is_nf4_on_the_cpu(dtype):
    """The GPU's kernels against the CPU's, and the layer's product against float64's over the same weights."""
    torch.manual_seed(0)
    weight, x = torch.randn(192, 256) * 0.1, torch.randn(50, 256)
    parameter = bnb.nn.Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=True)
    layer = bnb.nn.Linear4bit(256, 192, bias=False, quant_type="nf4", compute_dtype=dtype)
    layer.weight = parameter
    layer = layer.to(DEVICE)
    layer.weight.quant_state.dtype = dtype
    dense = dense_weight(layer, dtype)
    assert 0.02 < distance([dense], [weight]) < 0.12
    on_cpu = bnb.functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    reference = bnb.functional.dequantize_4bit(*on_cpu)
    tolerance = {torch.float32: 2e-3, torch.float16: 2e-3, torch.bfloat16: 5e-3}[dtype]
    assert distance([dense], [reference]) < tolerance
    output = layers._FrozenLinear.apply(x.to(DEVICE, dtype), layer)
    assert distance([output], [x.to(dtype).double() @ dense.double().cpu().T]) < tolerance


@pytest.mark.parametrize("precision", ["fp16", "bf16", "nf4"])
def test_every_lever_gives_the_same_loss_curve(material, tmp_path, precision):
    name, curves = f"{precision}-r4-s0", []
    _, history, _ = train(material, tmp_path / "cpu", name, steps=20)
    for levers in ({}, {"fused_kernels": True}, {"cuda_graphs": True}, {"fused_kernels": True, "cuda_graphs": True}):
        off = {"fused_kernels": False, "cuda_graphs": False}
        options = off | levers | {"device": "cuda", "steps": 20, "micro_batch_size": 4}
        record, curve, _ = train(material, tmp_path / str(len(curves)), name, **options)
        used = {key: value for key, value in record["outcome"]["levers"].items() if key != "graphs_gib"}
        assert used == off | levers | {"offload_embeddings": False}
        curves.append(curve["loss"])
    assert curves[0].nunique() == 20
    for curve in curves:
        assert (curve - history["loss"]).abs().max() < 0.05
        assert abs(curve.tail(4).mean() - history["loss"].tail(4).mean()) < 0.02


def test_eight_bits_train(material, tmp_path):
    """bitsandbytes' layers keep their own product, and LoRA's matrices their gradients: all of them move."""
    study, paths = material
    paths = paths | {"int8": str(tmp_path / "int8.json")}
    request = {"precision": "int8", "device": "cuda", "cpu_threads": None}
    prepare.prepare_base({"request": request, "input": paths, "output": {"base": paths["int8"]}})
    record, history, _ = train((study, paths), tmp_path, "int8-r4-s0", device="cuda", steps=8)
    assert record["outcome"]["status"] == "ok"
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


def test_recorded_steps_are_those_of_a_model_in_training(material, tmp_path, monkeypatch):
    """One that was just loaded is not, and recomputes nothing in its backward pass, whatever it was told."""
    seen = set()

    class Watched(captured_step.CapturedStep):
        def __call__(self, *arguments):
            seen.update(module.training for module in self.model.modules())
            return super().__call__(*arguments)

    monkeypatch.setattr(captured_step, "CapturedStep", Watched)
    train(material, tmp_path, "nf4-r4-s0", device="cuda", cuda_graphs=True, gradient_checkpointing=True, steps=4)
    assert seen == {True}


@pytest.mark.parametrize("precision", ["fp16", "bf16", "nf4"])
def test_evaluation_batch_does_not_change_the_perplexity(material, tmp_path, precision):
    found = [
        evaluate(material, tmp_path / str(size), precision=precision, device="cuda", batch_size=size)[0]["perplexity"]
        for size in (1, 4, 7, 40)
    ]
    assert max(found) / min(found) - 1 < 1e-5


@pytest.mark.parametrize("graphs", [False, True])
def test_an_interrupted_training_ends_as_the_undisturbed_one(material, tmp_path, monkeypatch, graphs):
    options = {"device": "cuda", "cuda_graphs": graphs, "steps": 12, "limits": {"checkpoint_steps": 3}}
    _, undisturbed, adapter = train(material, tmp_path / "undisturbed", "nf4-r4-s0", **options)

    def interrupt(guard, args, state, control, **_):
        if state.global_step == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Guard, "on_log", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(material, tmp_path / "resumed", "nf4-r4-s0", **options)
    record, history, resumed = train(material, tmp_path / "resumed", "nf4-r4-s0", **options)
    assert record["outcome"]["resumes"] == 1
    assert record["outcome"]["levers"]["cuda_graphs"] == graphs
    counts = record["outcome"]["adapter"]
    assert (counts["moved"], counts["without_gradient"]) == (counts["tensors"], 0)
    assert (history["loss"] - undisturbed["loss"]).abs().max() < 1e-2
    files = [load_file(folder / "adapter_model.safetensors") for folder in (resumed, adapter)]
    assert distance(*(list(weights.values()) for weights in files)) < 1e-2


def supervised(job: dict, folder) -> dict:
    """The outcome of a training in a process of its own, as the workflow starts it."""
    base = records.read_json(job["input"]["base"])
    # That process has the project's own cache, not this one's.
    records.write_json(folder / "base.json", base | {"folder": str(cache_module.CACHE / base["folder"])})
    inputs = job["input"] | {"base": str(folder / "base.json")}
    supervisor = start(Job(job | {"tracked": None}, folder, inputs, OUTPUTS))
    _, errors = supervisor.communicate(timeout=300)
    assert supervisor.returncode == 0, errors + (folder / "job.log").read_text()
    return records.read_json(folder / "training.json")["outcome"]


def test_a_budget_caps_the_allocator(material, tmp_path):
    """The context counts too: what it leaves of the budget is all that the allocator gets, whatever a neighbour has."""
    neighbour = torch.empty(3 * 2**30, dtype=torch.uint8, device=DEVICE)
    job = job_of(material, tmp_path, "nf4-r4-s0", device="cuda", steps=4, micro_batch_size=1)
    outcome = supervised(job | {"limits": {"memory_gib": 3}}, tmp_path)
    levers = outcome["levers"]
    assert outcome["status"] == "ok"
    assert levers["context_source"] in (PROCESS, RISE)
    assert 0.05 < levers["context_gib"] < 2
    beside = levers["context_gib"] + levers.get("graphs_gib", 0.0)
    assert levers["limit_gib"] + beside == pytest.approx(3, abs=0.02)
    del neighbour


FILL = """
import sys, torch
device = torch.device("cuda", int(sys.argv[1]))
held = torch.empty(torch.cuda.mem_get_info(device)[0] - 2**26, dtype=torch.uint8, device=device)
print("full", flush=True)
sys.stdin.read()
"""


@contextmanager
def full(index: int):
    """A CUDA device of which another process has all but 64 MiB, too little for a context, while the block runs."""
    process = subprocess.Popen([sys.executable, "-c", FILL, str(index)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"full\n"
        yield
    finally:
        process.communicate()


def test_a_device_without_room_for_a_context_is_a_row(material, tmp_path):
    torch.cuda.empty_cache()
    with full(0):
        outcome = supervised(job_of(material, tmp_path, "nf4-r4-s0", device="cuda"), tmp_path)
    assert (outcome["status"], outcome["phase"]) == ("oom", "load")


def test_a_capped_allocator_refuses_what_passes_the_cap():
    meter = open_meter(DEVICE)
    meter.release()
    meter.limit(meter.reserved + 2**28)
    try:
        torch.empty(2**27, dtype=torch.uint8, device=DEVICE)
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(2**28 + 2**26, dtype=torch.uint8, device=DEVICE)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)


def test_what_the_meter_reads_is_the_device():
    """NVML's figures against CUDA's, and a GiB that this process takes."""
    meter = open_meter(DEVICE)
    free, total = torch.cuda.mem_get_info(DEVICE)
    before = meter.read()
    assert before.total == pytest.approx(total, rel=0.03)
    assert before.free == pytest.approx(free, abs=2**29)
    taken = torch.empty(2**30, dtype=torch.uint8, device=DEVICE)
    after = meter.read()
    assert before.free - after.free == pytest.approx(2**30, abs=2**28)
    assert after.own is None or after.own >= meter.outside + taken.nbytes
    assert meter.held(after) >= taken.nbytes


def test_recorded_steps_that_pass_the_budget_give_way_to_unrecorded_ones(material, tmp_path, monkeypatch):
    """Recordings that seem to take the whole device: the loss curve is that of a training without any."""
    whole = torch.cuda.get_device_properties(DEVICE).total_memory
    moves = iter([whole, -whole])

    @contextmanager
    def watch(meter):
        yield
        meter.outside += next(moves)

    monkeypatch.setattr(Meter, "watch", watch)
    options = {"device": "cuda", "steps": 12, "micro_batch_size": 4}
    budget = {"memory_gib": whole / 2**30}
    record, found, _ = train(material, tmp_path / "given up", "nf4-r4-s0", limits=budget, **options)
    _, expected, _ = train(material, tmp_path / "plain", "nf4-r4-s0", cuda_graphs=False, **options)
    torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)
    levers = record["outcome"]["levers"]
    assert record["outcome"]["status"] == "ok"
    assert levers["cuda_graphs"] is False
    assert "of a budget of" in levers["cuda_graphs_given_up"]
    assert next(moves, None) is None
    assert (found["loss"] - expected["loss"]).abs().max() < 0.05


def test_a_fork_of_what_has_imported_all_can_use_cuda():
    code = (
        "import os, sys, torch\n"
        "from frontier.jobs import fork_client, fork_server\n"
        "from frontier.machine import preload\n"
        "preload.preload(preload.WITHOUT_CUDA)\n"
        "left = fork_server._hand_over(fork_client.modules_of_cuda())\n"
        "if not left and {'bitsandbytes', 'liger_kernel'} <= set(sys.modules) and os.fork() == 0:\n"
        "    import bitsandbytes as bnb\n"
        "    packed, state = bnb.functional.quantize_4bit(torch.ones(64, 64, device='cuda'), quant_type='nf4')\n"
        "    print(float(bnb.functional.dequantize_4bit(packed, state).mean()), flush=True)\n"
        "    from frontier.machine import meter\n"
        "    print(meter.open_meter(torch.device('cuda', 0)).read().total > 0, flush=True)\n"
        "    os._exit(0)\n"
        "if not left: os.wait()"
    )
    environment = launch.job_variables({"device": "cuda"})
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "1.0\nTrue\n", done.stderr


def test_a_calibration_measures_what_a_recorded_step_takes_beside_its_passes():
    found = rates.measure_device(DEVICE)
    assert found["asynchronous"]
    assert 0 < found["kernel_seconds"] < found["launch_seconds"]
    assert found["parameter_seconds"] > 0
