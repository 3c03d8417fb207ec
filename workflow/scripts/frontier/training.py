"""Train one adapter and record what it cost."""

import csv
import io
import shutil
from contextlib import nullcontext
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from peft import LoraConfig, get_peft_model
from transformers import TrainingArguments, set_seed

from frontier import checkpoints, data, kernels, layers, measure, models, outcomes, records, sharding
from frontier.clock import Clock, Guard
from frontier.errors import UserError
from frontier.foresight import given_up
from frontier.limits import GraphRoom, lift_memory_limit, set_memory_limit
from frontier.nvml import open_meter
from frontier.progress import event, say
from frontier.sharding import ALONE, Share
from frontier.spill import Sampler
from frontier.team import Team
from frontier.trainer import AnswerTrainer, SharedTrainer

# A node that died keeps its lock on a network file system for a minute or two.
_LOCK_SECONDS = 180


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


def build(request: dict, base: dict, dtype: torch.dtype, device: torch.device, share: Share = ALONE):
    """The model of a run, ready to train, and which of the levers that were asked for it can use.

    One that several processes share stays in the host's memory until it is sharded, and uses none.
    """
    settings, dropout = request["training"], request["lora"]["dropout"]
    is_alone = share.processes == 1
    model = models.load(base, device if is_alone else torch.device("cpu"))
    fused = is_alone and settings["fused_kernels"] and device.type == "cuda" and kernels.fuse(model)
    model = build_adapter(model, request["lora"], request["rank"], request["seed"])
    layers.compute_in(model, dtype)
    if settings["gradient_checkpointing"]:
        # Without dropout nothing is drawn that a second forward pass would have to draw again.
        options = {"use_reentrant": False, "preserve_rng_state": dropout > 0}
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    if not is_alone:
        sharding.prepare(model, device)
        return model, dict.fromkeys(("fused_kernels", "cuda_graphs", "offload_embeddings"), False)
    offloaded = settings["offload_embeddings"] and device.type == "cuda" and kernels.offload_embeddings(model)
    if device.type == "cuda":
        # Else what loading has freed is cut up for tensors that stay, and lost to the recorded steps' own pool.
        torch.cuda.empty_cache()
    graphs = settings["cuda_graphs"] and kernels.is_recordable(model, dtype, dropout, device)
    return model, {"fused_kernels": fused, "cuda_graphs": graphs, "offload_embeddings": offloaded}


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
    room: GraphRoom | None = None,
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
        recorded = kernels.RecordedStep(model, lengths, arguments.per_device_train_batch_size, recording)
    made = {"model": model, "args": arguments, "train_dataset": examples, "clock": clock, "guard": guard}
    if share == ALONE:
        trainer = AnswerTrainer(recorded=recorded, room=room, **made)
    else:
        trainer = SharedTrainer(share=share, **made)
    if recorded:
        recorded.keep_gradients()
        kernels.make_state(trainer.create_optimizer())
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


def run(job: dict) -> None:
    """Train the configuration of `job["request"]`; write its record, history and adapter, however it ends."""
    request, inputs = job["request"], job["input"]
    limits, share = job.get("limits") or {}, Share(0, request.get("processes", 1))
    folder = Path(job["output"]["training"]).parent
    folder.mkdir(parents=True, exist_ok=True)
    if job.get("plan") and (hopeless := given_up(job["plan"], request["run"], limits)):
        say(f"{request['run']}  {hopeless['reason']}")
        outcomes.write(job | {"material": material(inputs)}, hopeless, None)
        return
    device = measure.open_device(request["device"], request["cpu_threads"], share)
    phases = measure.Phases(device)
    clock = Clock(request["run"], device, phases)
    environment = measure.environment(device, phases.started_at)
    if share.processes > 1:
        environment["device"] += f", {share.processes} processes"
    job = job | {"material": material(inputs)}
    event(environment=environment, material=job["material"])

    def finish(outcome: dict) -> None:
        environment["ended_at"] = measure.utc_now()
        outcomes.write(job, outcome, environment)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)

    def cut_short(outcome: dict) -> None:
        write_history(clock.history, job["output"]["history"])
        finish(outcome)

    try:
        with FileLock(folder / ".lock", timeout=_LOCK_SECONDS):
            team = Team(job, share.processes, cut_short)
            try:
                finish(sharding.merged([train(job, limits, phases, clock, share, team.rendezvous), *team.finish()]))
            except (RuntimeError, MemoryError, outcomes.Stop) as error:
                lift_memory_limit()
                outcome = outcomes.from_error(error)
                if outcome is None:
                    team.settle()
                    raise
                team.end()
                cut_short(unfinished(outcome, phases, clock, inputs))
                team.leave()
    except Timeout:
        raise UserError(f"{request['run']}: another process is training it; wait for that, or end it") from None


def follow(job: dict) -> None:
    """Take part in a training as one of its further processes, and tell the first how that ended."""
    request, told = job["request"], {}
    share = Share(job["rank"], request["processes"])
    device = measure.open_device(request["device"], request["cpu_threads"], share)
    phases = measure.Phases(device)
    clock = Clock(request["run"], device, phases)
    try:
        told["result"] = train(job, job.get("limits") or {}, phases, clock, share, Path(job["rendezvous"]))
    except UserError as error:
        told["error"] = str(error)
        raise
    except (RuntimeError, MemoryError, outcomes.Stop) as error:
        lift_memory_limit()
        outcome = outcomes.from_error(error)
        if outcome is None:
            raise
        told["outcome"] = unfinished(outcome, phases, clock, job["input"])
    finally:
        if told:
            records.write_json(job["told"], told)


def train(
    job: dict,
    limits: dict,
    phases: measure.Phases,
    clock: Clock,
    share: Share = ALONE,
    rendezvous: Path | None = None,
) -> dict:
    """The outcome of a training that came to its end; its adapter and history are written by the first process."""
    request, inputs, outputs = job["request"], job["input"], job["output"]
    device, is_first = clock.device, share.rank == 0
    if share.processes > 1 and device.type == "cuda":
        # It makes the context: where there is no room for one, that is an outcome like any other.
        torch.cuda.set_device(device)
    meter = open_meter(device)
    limit = set_memory_limit(limits.get("memory_gib"), meter)
    dtype = models.compute_dtype(request["compute_dtype"], request["precision"], device)
    examples = data.load_tokens(inputs["tokens"])
    if is_first:
        on = f"{share.processes} x {device.type}" if share.processes > 1 else device.type
        say(f"{request['run']}  training on {len(examples)} examples, {on}, {dtype} products")
    phases.enter("load")
    model, levers = build(request, records.read_json(inputs["base"]), dtype, device, share)
    folder = Path(outputs["training"]).parent / "checkpoints"
    guard = Guard(clock, limits, job["digest"]) if is_first else None
    levers |= sharding.lever(share, device) | limit
    room = meter and GraphRoom(limits.get("memory_gib"), meter, levers)
    with sharding.joined(share, rendezvous, device):
        phases.enter("between_steps")
        with Sampler(meter) as sampler:
            fit(request, model, examples, clock, dtype, levers["cuda_graphs"], folder, guard, share, room)
        phases.enter("save")
        adapter = sharding.gathered(model) if share.processes > 1 else None
        held = sharding.held_gib(model)
    if is_first:
        model.save_pretrained(outputs["adapter"], state_dict=adapter)
        write_history(clock.history, outputs["history"])
    spilled = {"status": "spilled", "phase": "train", "reason": "device memory spilled to the host"}
    return (
        {"status": "ok"}
        | cost(clock, phases)
        | {"trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad)}
        | {"levers": levers}
        | ({"weights_gib": held} if share.processes > 1 else {})
        | sampler.peaks()
        | (spilled if sampler.spilled else {})
    )


def cost(clock: Clock, phases: measure.Phases) -> dict:
    """What the training has cost so far; None for what was not measured."""
    seconds = phases.end()
    steps = [seconds[name] for name in ("warm_up", "steady") if name in seconds]
    peaks = {
        name: max((one[name] for one in steps if one.get(name) is not None), default=None)
        for name in ("allocated_gib", "reserved_gib", "device_gib", "host_gib")
    }
    on_card = clock.device.type == "cuda"
    return {
        "steps": clock.steps,
        "train_seconds": clock.seconds or None,
        "load_seconds": seconds.get("load", {}).get("seconds"),
        "train_tokens": clock.tokens,
        "tokens_per_second": clock.tokens / clock.seconds if clock.seconds else None,
        "final_train_loss": clock.history[-1]["loss"] if clock.history else None,
        "memory_metric": "cuda_allocated" if on_card else "host_rss",
        "peak_memory_gib": peaks["allocated_gib"] if on_card else peaks["host_gib"],
        **{f"peak_{name}": value for name, value in peaks.items()},
        "resumes": clock.resumes,
        "phases": seconds,
        "wall_seconds": sum(one["seconds"] for one in seconds.values()),
    }


def unfinished(outcome: dict, phases: measure.Phases, clock: Clock, inputs: dict) -> dict:
    """An outcome that is not ok, with its phase and what was known by then; a clock cut short is no training time."""
    phase = outcomes.phase_of(phases.current)
    if outcomes.may_have_lost_device(outcome):
        phases.leave_device()
    known = cost(clock, phases)
    host, allocated = (
        max((one[name] for one in known["phases"].values() if one.get(name) is not None), default=None)
        for name in ("host_gib", "allocated_gib")
    )
    so_far = {"peak_host_gib": host, "peak_allocated_gib": allocated}
    not_measured = dict.fromkeys(("train_seconds", "tokens_per_second", "peak_memory_gib", "final_train_loss"))
    if outcome["status"] == "oom" and phase == "load":
        needed = models.weights_gib(records.read_json(inputs["base"]))
        outcome = outcome | {"needs_gib": needed}
        outcome["reason"] += f"; the weights alone need {needed:.1f} GiB"
    return known | not_measured | so_far | {"phase": phase} | outcome


def material(inputs: dict) -> dict:
    """Where a run's model and data come from, by content."""
    model = records.read_json(inputs["model"])
    return {
        "model": {key: model[key] for key in ("source", "digest", "files", "architecture_only", "warnings")},
        "data": records.read_json(inputs["material"]),
    }


def write_history(history: list[dict], path: str) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, outcomes.HISTORY)
    writer.writeheader()
    writer.writerows(history)
    records.write_text(path, text.getvalue())
