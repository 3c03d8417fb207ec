"""Train one adapter and record what it cost."""

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import torch

from frontier import checkpoint_files, outcomes, records
from frontier.errors import UserError
from frontier.jobs import stopping
from frontier.jobs.hopeless import predicted_outcome
from frontier.jobs.team import Team
from frontier.machine import file_locks
from frontier.machine.capture_budget import CaptureBudget
from frontier.machine.device import open_device
from frontier.machine.environment import describe_environment, utc_now
from frontier.machine.limits import set_memory_limit
from frontier.machine.meter import open_meter
from frontier.machine.phases import Phases
from frontier.machine.spill import Sampler
from frontier.model.card import Card
from frontier.model.data.tokens import load_tokens
from frontier.outcome_types import TrainingOutcome
from frontier.outcomes import Status
from frontier.progress import event, say
from frontier.record_types import Environment
from frontier.request_types import Job, TeamJob, TrainingRequest
from frontier.run import checkpoints, method, sharding
from frontier.run.build import build_model, load_base
from frontier.run.clock import Clock, write_history
from frontier.run.cost import cost, merged, streaming_cost, unfinished
from frontier.run.fit import Run, fit
from frontier.run.guard import Guard
from frontier.run.material import material
from frontier.run.recovery import caught
from frontier.run.sharding import Share

# Seconds to wait for a run's lock: a node that died keeps it on a network file system for a minute or two.
_LOCK_SECONDS = 180
# The ending of a training that took all of its steps, while the driver moved device memory to the host.
_SPILLED = {"status": Status.SPILLED, "phase": "train", "reason": "device memory spilled to the host"}


def train_adapter(job: Job[TrainingRequest]) -> None:
    """Train the configuration of `job["request"]`; write its record, history and adapter, however it ends."""
    request, inputs = job["request"], job["input"]
    folder = _folder(job)
    folder.mkdir(parents=True, exist_ok=True)
    if job.get("plan") and (hopeless := predicted_outcome(job["plan"], request["run"], job.get("limits") or {})):
        say(f"{request['run']}  {hopeless['reason']}")
        outcomes.write(job | {"material": material(inputs)}, hopeless, None)
        return
    run = open_run(job, Share(0, request.get("processes", 1)))
    environment = describe_environment(run.device, run.clock.phases.started_at)
    if run.share.processes > 1:
        environment["device"] += f", {run.share.processes} processes"
    job = job | {"material": material(inputs)}
    event(environment=environment, material=job["material"])
    # Two trainings of one run would write into the same checkpoints.
    with file_locks.held(folder / ".lock", _LOCK_SECONDS):
        _train_in_all_processes(job, replace(run, stop=stopping.Stop()), environment)


def follow(job: TeamJob) -> None:
    """Take part in a training as one of its further processes, and tell the first how that ended."""
    told = {}
    # The first process decides when to stop; whatever ends it ends this one.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    run = open_run(job, Share(job["index"], job["request"]["processes"]))
    phases = run.clock.phases
    try:
        with caught(phases) as ending:
            told["result"] = train(job, run, Path(job["rendezvous"]))
        if ending.outcome:
            told["outcome"] = unfinished(ending.outcome, phases, run.clock, job["input"])
    except UserError as error:
        told["error"] = str(error)
        raise
    finally:
        if told:
            records.write_json(job["told"], told)


def open_run(job: Job[TrainingRequest], share: Share) -> Run:
    """Open the device, start the clocks, and return this process's part in the training (`Run`)."""
    request = job["request"]
    device = open_device(request["device"], request["cpu_threads"], share)
    clock = Clock(request["run"], device, Phases(device))
    folder, trackers = _folder(job) / checkpoint_files.FOLDER, job.get("report_to") if share.index == 0 else None
    return Run(request, clock, folder, share, job.get("limits") or {}, tuple(trackers or ()))


def train(job: Job[TrainingRequest], run: Run, rendezvous: Path | None = None) -> TrainingOutcome:
    """Train to the end and return this process's outcome; the first process writes the adapter and the history."""
    inputs, share, phases = job["input"], run.share, run.clock.phases
    if share.processes > 1 and run.device.type == "cuda":
        # This makes the context on the device here, where an error for want of memory becomes an outcome.
        torch.cuda.set_device(run.device)
    meter = open_meter(run.device)
    limit = set_memory_limit(run.limits.get("memory_gib"), meter)
    examples = load_tokens(inputs["tokens"])
    proof = method.proof_here(inputs, run.request, run.device)
    run = replace(run, method=method.method_of(proof, examples))
    run = run.with_dtype(checkpoints.kept_product_dtype(run.folder, job["digest"]))
    method.refuse_unshared(run.method, share)
    _tell_of_start(run, len(examples))
    phases.enter("load")
    base = load_base(records.read_json(inputs["base"]), run.device, share, run.method, run.base_on)
    model, levers = build_model(base, run.request, run.dtype, Card(run.device), share, run.method)
    levers |= sharding.lever(share, run.device) | limit
    guard = Guard(run.clock, run.limits, job["digest"], run.stop) if run.is_first else None
    budget = meter and CaptureBudget(run.limits.get("memory_gib"), meter, levers)
    with sharding.joined(share, rendezvous, run.device):
        phases.enter("between_steps")
        with Sampler(meter) as sampler:
            check = fit(run, model, examples, levers["cuda_graphs"], guard, budget)
        phases.enter("save")
        weights = sharding.gathered(model)
        counts = check.counts([*weights.values()])
        held = {"weights_gib": sharding.held_gib(model)} if share.processes > 1 else {}
    if run.is_first:
        _write(run, model, weights, job)
    return (
        {"status": Status.OK}
        | cost(run.clock, phases)
        | {"trainable_parameters": sum(map(torch.numel, weights.values())), "adapter": counts, "levers": levers}
        | {"proof": method.in_short(proof, run.method)}
        | streaming_cost(base, run.clock)
        | held
        | sampler.peaks()
        | (_SPILLED if sampler.spilled else {})
    )


def _write(run: Run, model, weights: dict, job: Job[TrainingRequest]) -> None:
    """Write the adapter and the history; the adapter of a shared training is written from `weights`, whole tensors.

    An adapter that has learned a chat template's turns has the template beside it.
    """
    outputs, template = job["output"], (job.get("material") or {}).get("data", {}).get("template", {})
    model.save_pretrained(outputs["adapter"], state_dict=weights if run.share.processes > 1 else None)
    if template.get("kind") == "chat":
        records.write_text(Path(outputs["adapter"]) / "chat_template.jinja", template["text"])
    write_history(run.clock.history, outputs["history"])


def _tell_of_start(run: Run, examples: int) -> None:
    if not run.is_first:
        return
    processes = run.share.processes
    on = f"{processes} x {run.device.type}" if processes > 1 else run.device.type
    say(
        f"{run.request['run']}  training on {examples} examples, {on}, {run.clock.product_dtype} products", passing=True
    )


def _train_in_all_processes(job: Job[TrainingRequest], run: Run, environment: Environment) -> None:
    """Train in this process, the first, and in the others that it starts, and write the record of how that ended."""
    phases = run.clock.phases
    run.clock.history_file = job["output"]["history"]

    def cut_short(outcome: TrainingOutcome) -> None:
        write_history(run.clock.history, job["output"]["history"])
        _finish(job, outcome, environment)

    team = Team(job, run.share.processes, cut_short)
    try:
        with caught(phases, before_raising=team.settle) as ending:
            _finish(job, merged([train(job, run, team.rendezvous), *team.finish()]), environment)
    except stopping.Stopped:
        team.end()
        raise
    if ending.outcome:
        team.end()
        cut_short(unfinished(ending.outcome, phases, run.clock, job["input"]))
        team.leave()


def _finish(job: Job[TrainingRequest], outcome: TrainingOutcome, environment: Environment) -> None:
    """Write a training's record and delete its checkpoints: with a record, a training is over."""
    environment["ended_at"] = utc_now()
    outcomes.write(job, outcome, environment)
    shutil.rmtree(_folder(job) / checkpoint_files.FOLDER, ignore_errors=True)


def _folder(job: Job[TrainingRequest]) -> Path:
    """Return the run's folder, in which its record lies."""
    return Path(job["output"]["training"]).parent
