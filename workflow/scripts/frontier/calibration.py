"""A short measurement of the device that is there: products, attention, traffic, dequantising and launches."""

import itertools
import statistics
import tempfile
import time
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from unittest import mock

import bitsandbytes as bnb
import psutil
import torch
import torch.nn.functional as F
from transformers import AutoConfig, AutoModelForCausalLM

from frontier import cards, config, emulation, kernels, measure, nvml, packing, records, tracing, training
from frontier.clock import WARM_UP_STEPS, Clock
from frontier.loss import token_losses
from frontier.outcomes import GIB

_SECONDS = 0.12
_REPEATS = 20
_SMALL = {
    "model_type": "llama",
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def measure_device(device: torch.device) -> dict:
    """`roofline.Rates` of a device as a dict; under a minute, most of it the compilation of kernels."""
    cuda = device.type == "cuda"
    tokens, width = (2048, 4096) if cuda else (512, 1024)
    half = [torch.float16] + ([torch.bfloat16] if not cuda or torch.cuda.is_bf16_supported() else [])
    dtypes = [*half, torch.float32] if cuda else [torch.float32]
    return {
        "matmul": {_name(dtype): _products(width, dtype, device) for dtype in dtypes},
        "attention": _attention(tokens, half[-1] if cuda else torch.float32, device),
        "traffic": _traffic([2**20, 2**24, 2**28] if cuda else [2**18, 2**22, 2**26], device),
        "dequantize": _dequantize(width, device),
        "asynchronous": cuda,
        **_small_step(device),
    }


def run(job: dict) -> None:
    """Write results/calibration.json: the device, what a context takes of it, its rates, and how long it took."""
    start = time.perf_counter()
    device = measure.open_device(job["request"]["device"], job["request"]["cpu_threads"])
    meter = nvml.open_meter(device)
    with meter.watch() if meter else nullcontext():
        rates = measure_device(device)
    card = present(device)
    figures = {key: card[key] for key in ("name", "memory_gib", "capability")}
    if meter and meter.source == nvml.PROCESS:
        # Where the driver tells of the whole device alone, others' coming and going would be in it.
        figures["context_gib"] = meter.outside / GIB
    seconds = time.perf_counter() - start
    records.write_json(job["output"]["calibration"], figures | {"seconds": seconds, "rates": rates})
    fastest = max(rate for points in rates["matmul"].values() for _, rate in points)
    print(
        f"{card['name']}: products {fastest / 1e12:.2f} TFLOP/s, memory {rates['traffic'][-1][1] / 1e9:.0f} GB/s, "
        f"{rates['launch_seconds'] * 1e6:.0f} us a launch; measured in {seconds:.0f} s",
        flush=True,
    )


def present(device: torch.device) -> dict:
    """The figures of a device that is there, named as a run's record names it, its speed where it is a known card's."""
    seen = measure.environment(device, measure.utc_now())
    memory = seen.get("device_gib") or psutil.virtual_memory().total / GIB
    capability = list(torch.cuda.get_device_capability(device)) if device.type == "cuda" else None
    known = {cards.plain(name): card for name, card in cards.table().items()}
    figures = {"name": seen["device"], "memory_gib": memory, "capability": capability}
    return known.get(cards.plain(seen["device"]), {}) | figures


def _clock(work, device: torch.device) -> float:
    """The device's seconds for `work`: on a card as a CUDA graph, whose kernels do not wait for the host's launches."""
    if device.type != "cuda":
        return _host_clock(work, device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(torch.cuda.Stream(device)):
        work()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream(device)):
            for _ in range(_REPEATS):
                work()
        return _host_clock(graph.replay, device) / _REPEATS


def _host_clock(work, device: torch.device) -> float:
    """Seconds that `work` takes when it is done again and again, launches included."""
    work()
    measure.synchronize(device)
    count, seconds = 1, 0.0
    while True:
        start = time.perf_counter()
        for _ in range(count):
            work()
        measure.synchronize(device)
        seconds = time.perf_counter() - start
        if seconds > _SECONDS:
            return seconds / count
        count = max(2 * count, int(count * _SECONDS / max(seconds, 1e-6)))


def _products(width: int, dtype: torch.dtype, device: torch.device) -> list:
    """The rates of products of rising size, from a few tokens times a weight to square ones."""
    points = []
    weight = torch.randn(width, width, device=device).to(dtype)
    for tokens in (width // 32, width // 8, width // 2, 2 * width):
        rows = torch.randn(tokens, width, device=device).to(dtype)
        work = 2.0 * tokens * width * width
        points.append((work, work / _clock(lambda a=rows: a @ weight, device)))
    return points


def _attention(tokens: int, dtype: torch.dtype, device: torch.device) -> list:
    heads, size, points = 16, 128, []
    for length in (tokens // 8, tokens // 2, tokens):
        query = torch.randn(1, heads, length, size, device=device).to(dtype).requires_grad_()

        def both(query=query):
            result = F.scaled_dot_product_attention(query, query, query, is_causal=True)
            torch.autograd.grad(result.sum(), query)

        work = 14.0 * length**2 * heads * size
        points.append((work / 3.5, work / _clock(both, device)))
    return points


def _traffic(sizes: list[int], device: torch.device) -> list:
    points = []
    for size in sizes:
        source = torch.ones(size // 4, device=device)
        target = torch.empty_like(source)
        points.append((2.0 * size, 2.0 * size / _clock(lambda a=source, b=target: torch.mul(a, 2.0, out=b), device)))
    return points


def _dequantize(width: int, device: torch.device) -> list:
    weight = torch.randn(width, width, device=device, dtype=torch.float16)
    packed, state = bnb.functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    state.dtype = torch.float32 if device.type == "cpu" else torch.float16
    moved = width * width * (0.5 + state.dtype.itemsize)
    return [(moved, moved / _clock(lambda: bnb.functional.dequantize_4bit(packed, state), device))]


def _small_step(device: torch.device) -> dict:
    """What a training step takes that is too small to compute: the host's time for launches and beside the passes.

    `launch_seconds` a kernel, Python and modules included, `checkpointed_launch_seconds` where activations are computed
    twice, with all that Python does to keep track of them; `kernel_seconds` the device's for one, from the same passes
    recorded, or where they cannot be from an element-wise kernel; `parameter_seconds` a trainable tensor, on a card:
    a CPU's time beside the passes is that of operations, which are counted as such.
    """
    shape = AutoConfig.for_model(**_SMALL)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    example = {"input_ids": [1] * 16, "labels": [1] * 16}
    row = packing.collate([example])
    placed = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in row.items()}
    found = {}
    for name, checkpointing in (("checkpointed_launch_seconds", True), ("launch_seconds", False)):
        request = _request(dtype, checkpointing)
        base = AutoModelForCausalLM.from_config(shape, dtype=dtype, attn_implementation=packing.ATTENTION)
        with mock.patch("frontier.models.load", return_value=base.to(device).requires_grad_(False)):
            model, _ = training.build(request, {}, dtype, device)
        model.train()
        operations = tracing.trace(shape, request, [row], [16], _kind(device)).operations
        count = sum(operation.phase != "update" for operation in operations)
        passes = _host_clock(lambda model=model: token_losses(model, placed).sum().backward(), device)
        found[name] = passes / count
    graphs = kernels.is_recordable(model, dtype, 0.0, device)
    if graphs:
        recorded = kernels.RecordedStep(model, [16], examples=1)
        recorded(placed, torch.ones((), device=device))
        ((graph, _),) = recorded.recorded.values()
        passes = _host_clock(graph.replay, device)
        found["kernel_seconds"] = passes / count
    else:
        one = torch.ones(64, device=device)
        found["kernel_seconds"] = _clock(lambda: one.mul_(1.0), device)
    if device.type == "cuda":
        model.zero_grad()
        trainable = sum(parameter.requires_grad for parameter in model.parameters())
        step = _step_seconds(request, model, [example] * request["training"]["steps"], dtype, graphs, device)
        found["parameter_seconds"] = max(0.0, step - passes) / trainable
    return found


def _step_seconds(request: dict, model, examples: list[dict], dtype, graphs: bool, device: torch.device) -> float:
    """The median seconds of an optimiser step after the warm-up, by the training itself."""
    clock = Clock("calibration", device)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(None):
        training.fit(request, model, examples, clock, dtype, graphs, Path(folder))
    ends = [step["seconds"] for step in clock.history[WARM_UP_STEPS:]]
    return statistics.median(later - earlier for earlier, later in itertools.pairwise(ends))


def _request(dtype: torch.dtype, checkpointing: bool) -> dict:
    study = config.resolve(
        {
            "model": {"source": "architecture", "config": _SMALL},
            "data": {"source": "reasoning-gym", "train_examples": 8, "validation_examples": 8},
            "compute_dtype": _name(dtype),
            "steps": 30,
            "batch_size": 1,
            "gradient_checkpointing": checkpointing,
        }
        | dict.fromkeys(("fused_kernels", "cuda_graphs", "offload_embeddings"), False)
    )
    return config.training_request(study, "fp16-r8-s0")


def _kind(device: torch.device) -> emulation.Device:
    if device.type == "cuda":
        return emulation.Device(True, torch.cuda.get_device_capability(device))
    return emulation.Device(False)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
