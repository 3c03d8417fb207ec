"""The Trainer of transformers with this project's loss; `sharded_trainer` has its form for several processes."""

from contextlib import nullcontext

import torch
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback

from frontier.machine.capture_budget import CaptureBudget
from frontier.model import packing
from frontier.model.execution import Execution
from frontier.model.loss import token_losses
from frontier.progress import say
from frontier.run.clock import Clock
from frontier.run.guard import Guard


class AnswerTrainer(Trainer):
    """The Trainer with the loss of answer tokens alone, divided by their number in the optimiser step.

    Each micro-batch comes as one packed row. `captured` is a `CapturedStep` that computes its passes, or None; it is
    given up if the process passes the `budget`. `way` is how a proof says that losses are computed, None for packed
    rows.
    """

    def __init__(
        self,
        *args,
        clock: Clock,
        guard: Guard | None = None,
        captured=None,
        budget: CaptureBudget | None = None,
        way: Execution | None = None,
        **kwargs,
    ):
        kwargs.setdefault("data_collator", packing.collate)
        super().__init__(*args, callbacks=[*filter(None, [clock, guard])], **kwargs)
        if guard and self.accelerator.scaler:
            guard.loss_scale = self.accelerator.scaler.get_scale
        self.clock, self.captured, self.budget, self.way = clock, captured, budget, way
        self.model_accepts_loss_kwargs = True
        self.remove_callback(PrinterCallback)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = token_losses(model, inputs, way=self.way).sum() / num_items_in_batch
        self.clock.losses.append(loss.detach())
        self.clock.tokens += inputs["input_ids"].numel()
        return loss

    def training_step(self, model, inputs, num_items_in_batch=None):
        if self.captured is None:
            return super().training_step(model, inputs, num_items_in_batch)
        scaler = self.accelerator.scaler
        one = torch.ones((), device=self.args.device)
        factor = (scaler.scale(one) if scaler else one) / num_items_in_batch
        loss = self.captured(inputs, factor) / num_items_in_batch
        self.clock.losses.append(loss)
        self.clock.tokens += inputs["input_ids"].numel()
        if self.budget and not self.budget.is_enough:
            with self.budget.giving_up():
                self.captured.give_up()
            self.captured = None
            say(f"{self.clock.run}  unrecorded steps from here on: {self.budget.levers['cuda_graphs_given_up']}")
        return loss

    def compute_loss_context_manager(self):
        # No autocast, since the layers choose their own dtypes: of the Trainer's float16 only the loss scaling is
        # wanted.
        return nullcontext()
