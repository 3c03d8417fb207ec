"""Run the Trainer over a run's model and examples."""

from contextlib import nullcontext
from pathlib import Path

import torch
from transformers import TrainingArguments

from frontier.machine.capture_budget import CaptureBudget
from frontier.model import captured_step
from frontier.model.levers import make_state
from frontier.progress import say
from frontier.run import checkpoints, sharding
from frontier.run.clock import Clock
from frontier.run.guard import Guard
from frontier.run.sharded_trainer import ShardedTrainer
from frontier.run.sharding import ALONE, Share
from frontier.run.trainer import AnswerTrainer


def fit(
    request: dict,
    model,
    examples: list[dict],
    clock: Clock,
    dtype: torch.dtype,
    graphs: bool,
    folder: Path,
    guard: Guard | None = None,
    share: Share = ALONE,
    room: CaptureBudget | None = None,
) -> None:
    """Train `model` on the examples, a step recorded once and replayed where `graphs`; `clock` has what it cost.

    Goes on from the newest sound checkpoint in `folder`, where a `guard` says whose they are. Recorded steps are given
    up where they do not fit in their `room`.
    """
    arguments = trainer_arguments(request, clock.device, dtype, folder, share)
    recorded = None
    if graphs:
        # Once: before each step, as the Trainer would, the device would wait for thousands of modules to be told.
        model.train()
        lengths = [len(example["input_ids"]) for example in examples]
        recording = room.recording if room else nullcontext
        recorded = captured_step.CapturedStep(model, lengths, arguments.per_device_train_batch_size, recording)
    made = {"model": model, "args": arguments, "train_dataset": examples, "clock": clock, "guard": guard}
    if share == ALONE:
        trainer = AnswerTrainer(recorded=recorded, room=room, **made)
    else:
        trainer = ShardedTrainer(share=share, **made)
    if recorded:
        recorded.keep_gradients()
        make_state(trainer.create_optimizer())
    checkpoint = sharding.agreed(checkpoints.newest(folder, guard.identity) if guard else None, share)
    if checkpoint:
        clock.restore(checkpoints.clock_of(checkpoint))
        if share.rank == 0:
            say(f"{clock.run}  going on from step {clock.steps}")
    trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))


def trainer_arguments(
    request: dict, device: torch.device, dtype: torch.dtype, folder: Path, share: Share = ALONE
) -> TrainingArguments:
    """A run's settings as the Trainer takes them; its batches are those of all processes together."""
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
        report_to="none",
        disable_tqdm=True,
        **length,
        **sharding.arguments(share),
    )
