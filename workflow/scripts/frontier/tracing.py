"""The real training step, run without its data: every tensor has a shape, a type and a device, and no content.

What a step allocates and computes follows from shapes alone, so the project's own model, adapter, layers and loss run
here on torch's meta device, for a card that need not be there, and nothing of their arithmetic is written twice.
"""

from unittest import mock

import torch
from torch import nn

from frontier import blanks, emulation, kernels, standins, training
from frontier.emulation import Device
from frontier.loss import token_losses
from frontier.recording import Recorder, Trace, tensors_of


def build(config, request: dict, device: Device):
    """A run's model as `training.build` makes it, without content, and its levers."""
    base = blanks.base(config, request["precision"])
    with torch.device("meta"), emulation.card(device), mock.patch("frontier.models.load", return_value=base):
        return training.build(request, {}, emulation.compute_dtype(request, device), device.torch_device)


def trace(config, request: dict, rows: list[dict], lengths: list[int], device: Device) -> Trace:
    """One optimiser step over `rows`, the micro-batches as `packing.collate` makes them, its optimiser's state there.

    `config` is a transformers config, `request` a run's training request, `lengths` the data set's examples' in
    tokens, which decide what a recorded step is padded to.
    """
    with emulation.quiet():
        model, levers = build(config, request, device)
    recorder = Recorder(vocabulary=model.config.get_text_config().vocab_size)
    recorder.trace.levers = levers
    recorder.trace.lengths = [length for row in rows for length in row["lengths"]]
    with emulation.quiet(), emulation.card(device), torch.device("meta"), recorder, emulation.passes(recorder):
        blanks.fill(model)
        recorder.keep(standins.library_space(device))
        model.train()
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        recorder.name(trainable, "adapter")
        recorder.trace.parameters = len(trainable)
        optimizer = blanks.optimizer(model, request, device)
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


def _recorded(model, request: dict, lengths: list[int]) -> kernels.RecordedStep:
    settings = request["training"]
    return kernels.RecordedStep(model, lengths, settings["micro_batch_size"] or settings["batch_size"])


def _record_second(recorded: kernels.RecordedStep) -> None:
    """Record the second longest row: with the longest, what takes the most memory of all recordings."""
    for length in recorded.lengths[-2:-1]:
        if length not in recorded.recorded:
            recorded._record(length)


def _update(recorder: Recorder, optimizer, trainable: list, request: dict, device: Device) -> None:
    recorder.phase = "update"
    limit = request["training"]["max_grad_norm"]
    if limit:
        nn.utils.clip_grad_norm_(trainable, limit, foreach=True if device.cuda else None)
    optimizer.step()
    recorder.name(tensors_of([list(state.values()) for state in optimizer.state.values()]), "optimizer")
    optimizer.zero_grad()
