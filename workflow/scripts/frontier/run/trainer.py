"""The Trainer on packed rows, in one process or in several that share a training."""

from contextlib import nullcontext

import torch
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback

from frontier.model import packing
from frontier.model.loss import token_losses
from frontier.progress import say
from frontier.run.clock import Clock
from frontier.run.guard import Guard


class AnswerTrainer(Trainer):
    """The Trainer on packed rows: loss over answer tokens alone, normalised over the whole optimiser step's."""

    def __init__(self, *args, clock: Clock, guard: Guard | None = None, recorded=None, room=None, **kwargs):
        kwargs.setdefault("data_collator", packing.collate)
        super().__init__(*args, callbacks=[*filter(None, [clock, guard])], **kwargs)
        if guard and self.accelerator.scaler:
            guard.loss_scale = self.accelerator.scaler.get_scale
        self.clock, self.recorded, self.room = clock, recorded, room
        self.model_accepts_loss_kwargs = True
        self.remove_callback(PrinterCallback)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = token_losses(model, inputs).sum() / num_items_in_batch
        self.clock.losses.append(loss.detach())
        self.clock.tokens += inputs["input_ids"].numel()
        return loss

    def training_step(self, model, inputs, num_items_in_batch=None):
        if self.recorded is None:
            return super().training_step(model, inputs, num_items_in_batch)
        scaler = self.accelerator.scaler
        one = torch.ones((), device=self.args.device)
        factor = (scaler.scale(one) if scaler else one) / num_items_in_batch
        loss = self.recorded(inputs, factor) / num_items_in_batch
        self.clock.losses.append(loss)
        self.clock.tokens += inputs["input_ids"].numel()
        if self.room and not self.room.is_enough:
            with self.room.giving_up():
                self.recorded.give_up()
            self.recorded = None
            say(f"{self.clock.run}  unrecorded steps from here on: {self.room.levers['cuda_graphs_given_up']}")
        return loss

    def compute_loss_context_manager(self):
        # The layers choose their own dtypes; float16 needs the Trainer's loss scaling, not its autocast.
        return nullcontext()
