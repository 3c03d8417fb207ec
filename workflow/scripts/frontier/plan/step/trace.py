"""The real training step, run without its data: every tensor has a shape, a type and a device, and no content.

What a step allocates and computes follows from shapes alone, so the project's own model, adapter, layers and loss run
here on torch's meta device, for a card that need not be there, and nothing of their arithmetic is written twice.
"""

from unittest import mock

import torch
from torch import nn

from frontier.model import captured_step
from frontier.model.loss import token_losses
from frontier.plan.step import emulated_card, meta_model, stand_ins
from frontier.plan.step.emulated_card import TargetDevice
from frontier.plan.step.tracer import Trace, Tracer, tensors_of
from frontier.run.build import build_model


def build_on_meta(config, request: dict, device: TargetDevice):
    """A run's model as `training.build` makes it, without content, and its levers."""
    base = meta_model.base(config, request["precision"])
    with torch.device("meta"), emulated_card.card(device), mock.patch("frontier.model.bases.load", return_value=base):
        return build_model(request, {}, emulated_card.compute_dtype(request, device), device.torch_device)


def trace_step(config, request: dict, rows: list[dict], lengths: list[int], device: TargetDevice) -> Trace:
    """One optimiser step over `rows`, the micro-batches as `packing.collate` makes them, its optimiser's state there.

    `config` is a transformers config, `request` a run's training request, `lengths` the data set's examples' in
    tokens, which decide what a recorded step is padded to.
    """
    with emulated_card.quiet():
        model, levers = build_on_meta(config, request, device)
    recorder = Tracer(vocabulary=model.config.get_text_config().vocab_size)
    recorder.trace.levers = levers
    recorder.trace.lengths = [length for row in rows for length in row["lengths"]]
    with (
        emulated_card.quiet(),
        emulated_card.card(device),
        torch.device("meta"),
        recorder,
        emulated_card.passes(recorder),
    ):
        meta_model.fill(model)
        recorder.keep(stand_ins.library_space(device))
        model.train()
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        recorder.name(trainable, "adapter")
        recorder.trace.parameters = len(trainable)
        optimizer = meta_model.optimizer(model, request, device)
        if levers["cuda_graphs"]:
            recorded, factor = _recorded(model, request, lengths), torch.ones(())
            recorded.keep_gradients()
        else:
            recorded = None
            for parameter in trainable:
                parameter.grad = torch.zeros_like(parameter)
        _update(recorder, optimizer, trainable, request, device)
        if recorded:
            recorder.phase = "forward"
            recorded(recorder.on_device(max(rows, key=lambda row: row["input_ids"].shape[1])), factor)
            _record_second(recorded)
            longest, _ = recorded.recorded[recorded.lengths[-1]]
            recorder.trace.graph_kernels = len(recorded.lengths) * len(longest.operations)
            optimizer.zero_grad()
        recorder.trace.operations.clear()
        for row in rows:
            recorder.phase = "forward"
            if recorded:
                recorded(recorder.on_device(row), factor)
            else:
                _pass(model, recorder.on_device(row))
            recorder.name([parameter.grad for parameter in trainable], "gradients")
        _update(recorder, optimizer, trainable, request, device)
    return recorder.trace


def _pass(model, row: dict) -> None:
    """The forward and backward pass of a row, as the Trainer would have it."""
    (token_losses(model, row).sum() / row["labels"].numel()).backward()


def _recorded(model, request: dict, lengths: list[int]) -> captured_step.CapturedStep:
    settings = request["training"]
    return captured_step.CapturedStep(model, lengths, settings["micro_batch_size"] or settings["batch_size"])


def _record_second(recorded: captured_step.CapturedStep) -> None:
    """Record the second longest row: with the longest, what takes the most memory of all recordings."""
    for length in recorded.lengths[-2:-1]:
        if length not in recorded.recorded:
            recorded._record(length)


def _update(recorder: Tracer, optimizer, trainable: list, request: dict, device: TargetDevice) -> None:
    recorder.phase = "update"
    limit = request["training"]["max_grad_norm"]
    if limit:
        nn.utils.clip_grad_norm_(trainable, limit, foreach=True if device.cuda else None)
    optimizer.step()
    recorder.name(tensors_of([list(state.values()) for state in optimizer.state.values()]), "optimizer")
    optimizer.zero_grad()
