"""Run the real training step without its data: every tensor has a shape, a dtype and a device, and no content.

What a step allocates and computes follows from shapes alone. So the project's own model, adapter, layers and loss run
here on torch's meta device, for a card that need not be there, and nothing of their arithmetic is written twice.
"""

import contextlib
import gc

import torch
from torch import nn

from frontier.model.captured_step import CapturedStep
from frontier.model.loss import token_losses
from frontier.plan.step import meta_model, stand_ins
from frontier.plan.step.emulated_card import EmulatedCard
from frontier.plan.step.passes import Passes, grouped_kernels_on_meta
from frontier.plan.step.traced_graphs import TracedGraphs
from frontier.plan.step.tracer import Trace, Tracer, tensors_of
from frontier.request_types import TrainingRequest
from frontier.run.build import build_model


def build_on_meta(config, request: TrainingRequest, card: EmulatedCard):
    """Return a run's model as `build_model` makes it, without content, and the levers that it uses."""
    base = meta_model.base(config, request["precision"], card.attention)
    with torch.device("meta"):
        return build_model(base, request, card.compute_dtype(request), card)


def trace_step(config, request: TrainingRequest, rows: list[dict], lengths: list[int], card: EmulatedCard) -> Trace:
    """Return the trace of an optimiser step over `rows`, micro-batches as `packing.collate` makes them.

    It is a later step of a training, when the optimiser's state is there already. `config` is a transformers config,
    `request` a run's training request, and `lengths` are those of all examples in tokens, which decide the lengths that
    captured steps are padded to.
    """
    with meta_model.quiet():
        model, levers = build_on_meta(config, request, card)
    tracer = Tracer(vocabulary=model.config.get_text_config().vocab_size)
    tracer.trace.levers = levers
    tracer.trace.lengths = [length for row in rows for length in row["lengths"]]
    with meta_model.quiet(), grouped_kernels_on_meta(), torch.device("meta"), uncollected(), tracer, Passes(tracer):
        step = _Step(model, request, card, tracer)
        if levers["cuda_graphs"]:
            step.prepare_capture(lengths)
            step.update()
            step.capture(max(rows, key=lambda row: row["input_ids"].shape[1]))
        else:
            step.make_gradients()
            step.update()
        tracer.trace.operations.clear()
        for row in rows:
            step.add_gradients(row)
        step.update()
        # What is released from here on, with the model, is no part of the step.
        tracer.trace.events = [*tracer.trace.events]
    return tracer.trace


@contextlib.contextmanager
def uncollected():
    """Let no cycles be collected while the block runs: what they hold would be released at a moment of chance."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Step:
    """A run's optimiser step on the meta device, which tells the tracer its phase and the category of its tensors."""

    def __init__(self, model, request: TrainingRequest, card: EmulatedCard, tracer: Tracer):
        self.model, self.settings, self.card, self.tracer = model, request["training"], card, tracer
        self.captured: CapturedStep | None = None
        meta_model.fill(model)
        tracer.keep(stand_ins.library_space(card))
        model.train()
        self.trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        tracer.name(self.trainable, "adapter")
        tracer.trace.parameters = len(self.trainable)
        self.optimizer = meta_model.optimizer(model, request, card)

    def make_gradients(self) -> None:
        for parameter in self.trainable:
            parameter.grad = torch.zeros_like(parameter)

    def prepare_capture(self, lengths: list[int]) -> None:
        """Make the step that will be captured, with its gradients, and capture nothing yet."""
        examples = self.settings["micro_batch_size"] or self.settings["batch_size"]
        self.captured = CapturedStep(self.model, lengths, examples, graphs=TracedGraphs(self.tracer))
        self.factor = torch.ones(())
        self.captured.keep_gradients()

    def capture(self, longest: dict) -> None:
        """Capture the two longest lengths, which take the most memory of all; count the kernels of all graphs.

        `longest` is the row with the most tokens. A step over it captures the longest length, and the one that the row
        is padded to.
        """
        captured = self.captured
        self.tracer.phase = "forward"
        captured(self.tracer.on_device(longest), self.factor)
        for length in captured.lengths[-2:-1]:
            if length not in captured.captured:
                captured.capture(length)
        graph, _ = captured.captured[captured.lengths[-1]]
        self.tracer.trace.graph_kernels = len(captured.lengths) * len(graph.operations)
        self.optimizer.zero_grad()

    def add_gradients(self, row: dict) -> None:
        """Run the forward and backward pass of a row, as the Trainer does."""
        self.tracer.phase = "forward"
        row = self.tracer.on_device(row)
        if self.captured:
            self.captured(row, self.factor)
        else:
            (token_losses(self.model, row, self.card.has_varlen).sum() / row["labels"].numel()).backward()
        self.tracer.name([parameter.grad for parameter in self.trainable], "gradients")

    def update(self) -> None:
        """Clip the gradients, step the optimiser and drop the gradients."""
        self.tracer.phase = "update"
        limit = self.settings["max_grad_norm"]
        if limit:
            nn.utils.clip_grad_norm_(self.trainable, limit, foreach=True if self.card.is_cuda else None)
        self.optimizer.step()
        states = [list(state.values()) for state in self.optimizer.state.values()]
        self.tracer.name(tensors_of(states), "optimizer")
        self.optimizer.zero_grad()
