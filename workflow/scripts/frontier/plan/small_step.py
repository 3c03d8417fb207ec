"""Measure the overheads of a training step on the device that is there, by a step with hardly any arithmetic."""

import itertools
import statistics
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from frontier.model import captured_step, packing
from frontier.model.card import Card
from frontier.model.dtypes import compute_dtype, name_of
from frontier.model.loss import token_losses
from frontier.plan.device_clock import clock, host_clock
from frontier.plan.step import trace
from frontier.plan.step.emulated_card import EmulatedCard
from frontier.request_types import TrainingRequest
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
_EXAMPLE = {"input_ids": [1] * 16, "labels": [1] * 16}


def small_step(device: torch.device) -> dict:
    """Return the overheads of a training step in seconds, by a model so small that its arithmetic hardly counts.

    `launch_seconds`: the host's, for a kernel, with what Python and the modules do around it.
    `checkpointed_launch_seconds`: the same where activations are computed twice, for which Python does more.
    `kernel_seconds`: the device's, for a kernel: of the same passes captured, or else of an element-wise kernel.
    `parameter_seconds`: the host's beside the passes, for a trainable tensor; on a card only, since on a CPU it is the
    time of the update's operations, which are counted by themselves.
    """
    dtype = torch.float16 if device.type == "cuda" else compute_dtype("auto", "", device)
    model, passes, count = _launched_passes(dtype, True, device)
    found = {"checkpointed_launch_seconds": passes / count}
    model, passes, count = _launched_passes(dtype, False, device)
    found["launch_seconds"] = passes / count
    graphs = captured_step.is_capturable(model, dtype, False, Card(device))
    if graphs:
        captured = captured_step.CapturedStep(model, [len(_EXAMPLE["input_ids"])], examples=1)
        captured(_placed_row(device), torch.ones((), device=device))
        ((graph, _),) = captured.captured.values()
        passes = host_clock(graph.replay, device)
        found["kernel_seconds"] = passes / count
    else:
        one = torch.ones(64, device=device)
        found["kernel_seconds"] = clock(lambda: one.mul_(1.0), device)
    if device.type == "cuda":
        model.zero_grad()
        trainable = sum(parameter.requires_grad for parameter in model.parameters())
        found["parameter_seconds"] = max(0.0, _step_seconds(model, dtype, graphs, device) - passes) / trainable
    return found


def _launched_passes(dtype: torch.dtype, checkpointing: bool, device: torch.device) -> tuple:
    """Return a small model, the seconds of its forward and backward pass, uncaptured, and how many kernels they are."""
    shape = AutoConfig.for_model(**_SMALL)
    request = _request(dtype, checkpointing)
    base = AutoModelForCausalLM.from_config(shape, dtype=dtype, attn_implementation=packing.ATTENTION)
    model, _ = build.build_model(base.to(device).requires_grad_(False), request, dtype, Card(device))
    model.train()
    row = packing.collate([_EXAMPLE])
    operations = trace.trace_step(shape, request, [row], row["lengths"], _emulated(device)).operations
    count = sum(operation.phase != "update" for operation in operations)
    placed = _placed_row(device)
    return model, host_clock(lambda: token_losses(model, placed).sum().backward(), device), count


def _placed_row(device: torch.device) -> dict:
    row = packing.collate([_EXAMPLE])
    return {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in row.items()}


def _step_seconds(model, dtype: torch.dtype, graphs: bool, device: torch.device) -> float:
    """Return the median seconds of an optimiser step after the warm-up, in a real training."""
    request = _request(dtype, checkpointing=False)
    examples = [_EXAMPLE] * request["training"]["steps"]
    steps_clock = Clock("calibration", device)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(None):
        fit.fit(fit.Run(request, steps_clock, Path(folder)), model, examples, graphs)
    ends = [step["seconds"] for step in steps_clock.history[WARM_UP_STEPS:]]
    return statistics.median(later - earlier for earlier, later in itertools.pairwise(ends))


def _request(dtype: torch.dtype, checkpointing: bool) -> TrainingRequest:
    study = schema.resolve(
        {
            "model": {"source": "architecture", "config": _SMALL},
            "data": {"source": "reasoning-gym", "train_examples": 8, "validation_examples": 8},
            "compute_dtype": name_of(dtype),
            "steps": 30,
            "batch_size": 1,
            "gradient_checkpointing": checkpointing,
        }
        | dict.fromkeys(("fused_kernels", "cuda_graphs", "offload_embeddings"), False)
    )
    return requests.training_request(study, "fp16-r8-s0")


def _emulated(device: torch.device) -> EmulatedCard:
    if device.type == "cuda":
        return EmulatedCard(True, torch.cuda.get_device_capability(device))
    return EmulatedCard(False)
