"""Train one adapter and record what it cost."""

import csv
import io
import shutil
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from frontier import outcomes, records
from frontier.errors import UserError
from frontier.jobs.hopeless import predicted_outcome
from frontier.jobs.team import Team
from frontier.machine.capture_budget import CaptureBudget
from frontier.machine.device import open_device
from frontier.machine.environment import describe, utc_now
from frontier.machine.limits import lift_memory_limit, set_memory_limit
from frontier.machine.meter import open_meter
from frontier.machine.phases import Phases
from frontier.machine.spill import Sampler
from frontier.model import bases
from frontier.model.card import Card
from frontier.model.examples import load_tokens
from frontier.progress import event, say
from frontier.run import sharding
from frontier.run.build import build_model, load_base
from frontier.run.clock import Clock
from frontier.run.cost import cost, unfinished
from frontier.run.fit import fit
from frontier.run.guard import Guard
from frontier.run.sharding import ALONE, Share

# A node that died keeps its lock on a network file system for a minute or two.
_LOCK_SECONDS = 180


def train_adapter(job: dict) -> None:
    """Train the configuration of `job["request"]`; write its record, history and adapter, however it ends."""
    request, inputs = job["request"], job["input"]
    limits, share = job.get("limits") or {}, Share(0, request.get("processes", 1))
    folder = Path(job["output"]["training"]).parent
    folder.mkdir(parents=True, exist_ok=True)
    if job.get("plan") and (hopeless := predicted_outcome(job["plan"], request["run"], limits)):
        say(f"{request['run']}  {hopeless['reason']}")
        outcomes.write(job | {"material": material(inputs)}, hopeless, None)
        return
    device = open_device(request["device"], request["cpu_threads"], share)
    phases = Phases(device)
    clock = Clock(request["run"], device, phases)
    environment = describe(device, phases.started_at)
    if share.processes > 1:
        environment["device"] += f", {share.processes} processes"
    job = job | {"material": material(inputs)}
    event(environment=environment, material=job["material"])

    def finish(outcome: dict) -> None:
        environment["ended_at"] = utc_now()
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
    device = open_device(request["device"], request["cpu_threads"], share)
    phases = Phases(device)
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
    phases: Phases,
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
    dtype = bases.compute_dtype(request["compute_dtype"], request["precision"], device)
    examples = load_tokens(inputs["tokens"])
    if is_first:
        on = f"{share.processes} x {device.type}" if share.processes > 1 else device.type
        say(f"{request['run']}  training on {len(examples)} examples, {on}, {dtype} products")
    phases.enter("load")
    base = load_base(records.read_json(inputs["base"]), device, share)
    model, levers = build_model(base, request, dtype, Card(device), share)
    folder = Path(outputs["training"]).parent / "checkpoints"
    guard = Guard(clock, limits, job["digest"]) if is_first else None
    levers |= sharding.lever(share, device) | limit
    room = meter and CaptureBudget(limits.get("memory_gib"), meter, levers)
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
