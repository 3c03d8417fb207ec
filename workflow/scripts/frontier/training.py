"""Train one adapter and record what it cost."""

import csv
import io
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from frontier import data, kernels, layers, measure, models, packing, records
from frontier.loss import token_losses

_HISTORY = ("step", "loss", "learning_rate", "grad_norm", "tokens", "seconds")


class Clock(TrainerCallback):
    """Wall-clock of the optimiser steps alone, each with its tokens and its loss; data loading stays outside."""

    def __init__(self, run: str, device: torch.device):
        self.run, self.device = run, device
        self.history: list[dict] = []
        self.seconds = 0.0
        self.tokens = 0
        self.losses: list[torch.Tensor] = []
        self._since_log: list[float] = []
        self._last_line = 0.0

    def on_step_begin(self, args, state, control, lr_scheduler=None, **kwargs):
        self._learning_rate = lr_scheduler.get_last_lr()[0]
        measure.synchronize(self.device)
        self._start = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        measure.synchronize(self.device)
        self.seconds += time.perf_counter() - self._start
        self._since_log.append(float(sum(self.losses)))
        self.losses.clear()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not self._since_log:
            return
        loss = sum(self._since_log) / len(self._since_log)
        self._since_log.clear()
        values = (state.global_step, loss, self._learning_rate, logs.get("grad_norm"), self.tokens, self.seconds)
        self.history.append(dict(zip(_HISTORY, values, strict=True)))
        self._say(state, loss)

    def _say(self, state, loss: float) -> None:
        done = state.global_step == state.max_steps
        if time.monotonic() - self._last_line < 5 and not done:
            return
        self._last_line = time.monotonic()
        left = self.seconds / state.global_step * (state.max_steps - state.global_step)
        print(
            f"{self.run}  step {state.global_step}/{state.max_steps}  loss {loss:.3f}  "
            f"{self.tokens / self.seconds:.0f} tokens/s  {left:.0f} s left",
            flush=True,
        )


class AnswerTrainer(Trainer):
    """The Trainer on packed rows: loss over answer tokens alone, normalised over the whole optimiser step's."""

    def __init__(self, *args, clock: Clock, recorded: kernels.RecordedStep | None = None, **kwargs):
        super().__init__(*args, callbacks=[clock], data_collator=packing.collate, **kwargs)
        self.clock, self.recorded = clock, recorded
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
        model.train()
        scaler = self.accelerator.scaler
        one = torch.ones((), device=self.args.device)
        factor = (scaler.scale(one) if scaler else one) / num_items_in_batch
        loss = self.recorded(inputs, factor) / num_items_in_batch
        self.clock.losses.append(loss)
        self.clock.tokens += inputs["input_ids"].numel()
        return loss

    def compute_loss_context_manager(self):
        # The layers choose their own dtypes; float16 needs the Trainer's loss scaling, not its autocast.
        return nullcontext()


def build_adapter(model, lora: dict, rank: int, seed: int):
    """Put a float32 LoRA adapter, initialised from `seed`, on every linear layer but the head (or on `targets`)."""
    set_seed(seed)
    config = LoraConfig(
        r=rank,
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        use_rslora=lora["rslora"],
        target_modules=lora["targets"],
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def build(request: dict, base: dict, dtype: torch.dtype, device: torch.device):
    """The model of a run, ready to train, and which of the levers that were asked for it can use."""
    settings, dropout = request["training"], request["lora"]["dropout"]
    model = models.load(base, device)
    fused = settings["fused_kernels"] and device.type == "cuda" and kernels.fuse(model)
    model = build_adapter(model, request["lora"], request["rank"], request["seed"])
    layers.compute_in(model, dtype)
    if settings["gradient_checkpointing"]:
        # Without dropout nothing is drawn that a second forward pass would have to draw again.
        options = {"use_reentrant": False, "preserve_rng_state": dropout > 0}
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    graphs = settings["cuda_graphs"] and kernels.is_recordable(model, dtype, dropout, device)
    return model, {"fused_kernels": fused, "cuda_graphs": graphs}


def fit(request: dict, model, examples: list[dict], clock: Clock, dtype: torch.dtype, graphs: bool, folder: Path):
    """Train `model` on the examples, a step recorded once and replayed where `graphs`; `clock` has what it cost."""
    arguments = trainer_arguments(request, clock.device, dtype, folder)
    recorded = None
    if graphs:
        longest = max(len(example["input_ids"]) for example in examples)
        recorded = kernels.RecordedStep(model, longest, arguments.per_device_train_batch_size)
    AnswerTrainer(model=model, args=arguments, train_dataset=examples, clock=clock, recorded=recorded).train()


def trainer_arguments(request: dict, device: torch.device, dtype: torch.dtype, folder: Path) -> TrainingArguments:
    settings = request["training"]
    micro = settings["micro_batch_size"] or settings["batch_size"]
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
    )


def run(job: dict) -> None:
    """Train the configuration of `job["request"]`; write its record, history and adapter."""
    request, inputs, outputs = job["request"], job["input"], job["output"]
    device = measure.open_device(request["device"], request["cpu_threads"])
    phases = measure.Phases(device)
    dtype = models.compute_dtype(request["compute_dtype"], request["precision"], device)
    examples = data.load_tokens(inputs["tokens"])
    print(f"{request['run']}  training on {len(examples)} examples, {device.type}, {dtype} products", flush=True)
    with phases("load"):
        model, levers = build(request, records.read_json(inputs["base"]), dtype, device)
    clock = Clock(request["run"], device)
    with phases("train"):
        fit(request, model, examples, clock, dtype, levers["cuda_graphs"], Path(outputs["adapter"]).parent)
    with phases("save"):
        model.save_pretrained(outputs["adapter"])
        write_history(clock.history, outputs["history"])
    record = {
        "digest": job["digest"],
        "request": request,
        "outcome": outcome(clock, phases, model) | {"levers": levers},
        "environment": measure.environment(device, phases.started_at),
    }
    records.write_json(outputs["training"], record)


def outcome(clock: Clock, phases: measure.Phases, model) -> dict:
    peaks = phases.records["train"]
    on_card = peaks["allocated_gib"] is not None
    return {
        "status": "ok",
        "steps": clock.history[-1]["step"],
        "train_seconds": clock.seconds,
        "load_seconds": phases.records["load"]["seconds"],
        "train_tokens": clock.tokens,
        "tokens_per_second": clock.tokens / clock.seconds,
        "final_train_loss": clock.history[-1]["loss"],
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "memory_metric": "cuda_allocated" if on_card else "host_rss",
        "peak_memory_gib": peaks["allocated_gib"] if on_card else peaks["host_gib"],
        "peak_allocated_gib": peaks["allocated_gib"],
        "peak_reserved_gib": peaks["reserved_gib"],
        "peak_device_gib": peaks["device_gib"],
        "peak_host_gib": peaks["host_gib"],
        "phases": phases.records,
    }


def write_history(history: list[dict], path: str) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, _HISTORY)
    writer.writeheader()
    writer.writerows(history)
    records.write_text(path, text.getvalue())
