"""Run the Trainer over a run's model and examples."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from frontier.jobs.stopping import Stop
from frontier.machine.capture_budget import CaptureBudget
from frontier.model import captured_step, dtypes
from frontier.model.execution import UNPROVED, Method
from frontier.model.levers import make_state
from frontier.progress import say
from frontier.request_types import TrainingRequest
from frontier.run import checkpoints, sharding, trackers
from frontier.run.adapter_check import AdapterCheck
from frontier.run.clock import Clock
from frontier.run.guard import Guard
from frontier.run.sharded_trainer import ShardedTrainer
from frontier.run.sharding import ALONE, Share
from frontier.run.trainer import AnswerTrainer


@dataclass(frozen=True)
class Run:
    """One process's part in the training of one run."""

    # The settings of the run, as `study.requests.training_request` makes them.
    request: TrainingRequest
    # What counts the training's cost; it knows the device.
    clock: Clock
    # The folder of the checkpoints.
    folder: Path
    share: Share = ALONE
    # The config's budget of memory and hours, and how often checkpoints are made.
    limits: Mapping[str, Any] = field(default_factory=dict)
    # The trackers that are told of the training while it goes on.
    report_to: Sequence[str] = ()
    # Whether the training is to stop; None where nothing may ask it to.
    stop: Stop | None = None
    # How a proof says that its losses are computed.
    method: Method = UNPROVED
    # The dtype of the products with which its checkpoint was made, by its name; None where it begins.
    kept_dtype: str | None = None

    @property
    def device(self) -> torch.device:
        return self.clock.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the matrix products."""
        if self.kept_dtype:
            return dtypes.DTYPES[self.kept_dtype]
        return dtypes.compute_dtype(self.request["compute_dtype"], self.request["precision"], self.device)

    @property
    def base_on(self) -> str:
        """Where the base's layers lie: on the `device`, or on the `host`."""
        return self.request.get("base_on", "device")

    def with_dtype(self, kept: str | None) -> "Run":
        """Return the run with the dtype that its checkpoint was made with, if any, and tell the clock what it is."""
        run = replace(self, kept_dtype=kept)
        self.clock.product_dtype = dtypes.name_of(run.dtype)
        return run

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes, speaks, and watches the limits."""
        return self.share.index == 0


def fit(
    run: Run,
    model,
    examples: list[dict],
    graphs: bool = False,
    guard: Guard | None = None,
    budget: CaptureBudget | None = None,
) -> AdapterCheck:
    """Train `model` on the examples and return what was noted of its adapter; the run's clock has what that cost.

    Where `graphs`, a step is captured once for each padded length and replayed; captured steps that pass their `budget`
    are given up. With a `guard`, which says whose checkpoints they are, go on from the newest sound one in the folder.
    """
    arguments = trainer_arguments(run.request, run.device, run.dtype, run.folder, run.share, run.report_to)
    if run.report_to:
        trackers.name_run(run.request["run"], run.folder)
    check = AdapterCheck(model, run.share)
    captured = _captured(model, examples, arguments, budget) if graphs else None
    made = {"model": model, "args": arguments, "train_dataset": examples, "clock": run.clock, "guard": guard}
    if run.share == ALONE:
        trainer = AnswerTrainer(captured=captured, budget=budget, way=run.method.way, **made)
    else:
        trainer = ShardedTrainer(share=run.share, **made)
    trainer.add_callback(check)
    if captured:
        captured.keep_gradients()
        make_state(trainer.create_optimizer())
    checkpoint = sharding.agreed(checkpoints.newest(run.folder, guard.identity) if guard else None, run.share)
    if checkpoint:
        run.clock.restore(checkpoints.clock_of(checkpoint))
        if run.is_first:
            say(f"{run.clock.run}  going on from step {run.clock.steps}")
    elif run.report_to:
        trackers.forget(run.request["run"], run.folder)
    try:
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    finally:
        if run.report_to:
            trackers.end()
    return check


def _captured(model, examples: list[dict], arguments: TrainingArguments, budget: CaptureBudget | None):
    """Return a `CapturedStep` of the model in training, for rows of the examples."""
    # Before each step, as the Trainer does it, this would keep the device waiting for thousands of modules.
    model.train()
    lengths = [len(example["input_ids"]) for example in examples]
    capturing = budget.capturing if budget else nullcontext
    return captured_step.CapturedStep(model, lengths, arguments.per_device_train_batch_size, capturing)


def trainer_arguments(
    request: TrainingRequest,
    device: torch.device,
    dtype: torch.dtype,
    folder: Path,
    share: Share = ALONE,
    report_to: Sequence[str] = (),
) -> TrainingArguments:
    """Return a run's settings as the Trainer takes them; its batches are those of all processes together."""
    settings = request["training"]
    micro = share.processes * settings["micro_batch_size"] if settings["micro_batch_size"] else settings["batch_size"]
    length = {"max_steps": settings["steps"]} if settings["steps"] else {"num_train_epochs": settings["epochs"]}
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=settings["batch_size"] // micro,
        learning_rate=settings["learning_rate"],
        lr_scheduler_type=settings["schedule"],
        warmup_steps=settings["warmup_steps"],
        weight_decay=settings["weight_decay"],
        max_grad_norm=settings["max_grad_norm"],
        optim=settings["optimizer"],
        logging_steps=settings["logging_steps"],
        logging_nan_inf_filter=False,
        seed=request["seed"],
        data_seed=request["seed"],
        use_cpu=device.type == "cpu",
        fp16=dtype == torch.float16 and device.type == "cuda",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        save_strategy="no",
        report_to=[*report_to] or "none",
        run_name=request["run"],
        project=trackers.project(),
        disable_tqdm=True,
        **length,
        **sharding.arguments(share),
    )
