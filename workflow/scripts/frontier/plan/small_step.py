"""What a training step takes on the device that is there when it is too small to compute."""

import itertools
import statistics
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from frontier.model import captured_step, packing
from frontier.model.loss import token_losses
from frontier.plan.device_clock import clock, dtype_name, host_clock
from frontier.plan.step import emulated_card, trace
from frontier.run import build, fit
from frontier.run.clock import WARM_UP_STEPS, Clock
from frontier.study import requests, schema

_SMALL = {
    "model_type": "llama",
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def small_step(device: torch.device) -> dict:
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
        with mock.patch("frontier.model.bases.load", return_value=base.to(device).requires_grad_(False)):
            model, _ = build.build_model(request, {}, dtype, device)
        model.train()
        operations = trace.trace_step(shape, request, [row], [16], _kind(device)).operations
        count = sum(operation.phase != "update" for operation in operations)
        passes = host_clock(lambda model=model: token_losses(model, placed).sum().backward(), device)
        found[name] = passes / count
    graphs = captured_step.is_capturable(model, dtype, 0.0, device)
    if graphs:
        recorded = captured_step.CapturedStep(model, [16], examples=1)
        recorded(placed, torch.ones((), device=device))
        ((graph, _),) = recorded.recorded.values()
        passes = host_clock(graph.replay, device)
        found["kernel_seconds"] = passes / count
    else:
        one = torch.ones(64, device=device)
        found["kernel_seconds"] = clock(lambda: one.mul_(1.0), device)
    if device.type == "cuda":
        model.zero_grad()
        trainable = sum(parameter.requires_grad for parameter in model.parameters())
        step = _step_seconds(request, model, [example] * request["training"]["steps"], graphs, device)
        found["parameter_seconds"] = max(0.0, step - passes) / trainable
    return found


def _step_seconds(request: dict, model, examples: list[dict], graphs: bool, device: torch.device) -> float:
    """The median seconds of an optimiser step after the warm-up, by the training itself."""
    clock = Clock("calibration", device)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(None):
        fit.fit(fit.Run(request, clock, Path(folder)), model, examples, graphs)
    ends = [step["seconds"] for step in clock.history[WARM_UP_STEPS:]]
    return statistics.median(later - earlier for earlier, later in itertools.pairwise(ends))


def _request(dtype: torch.dtype, checkpointing: bool) -> dict:
    study = schema.resolve(
        {
            "model": {"source": "architecture", "config": _SMALL},
            "data": {"source": "reasoning-gym", "train_examples": 8, "validation_examples": 8},
            "compute_dtype": dtype_name(dtype),
            "steps": 30,
            "batch_size": 1,
            "gradient_checkpointing": checkpointing,
        }
        | dict.fromkeys(("fused_kernels", "cuda_graphs", "offload_embeddings"), False)
    )
    return requests.training_request(study, "fp16-r8-s0")


def _kind(device: torch.device) -> emulated_card.TargetDevice:
    if device.type == "cuda":
        return emulated_card.TargetDevice(True, torch.cuda.get_device_capability(device))
    return emulated_card.TargetDevice(False)
