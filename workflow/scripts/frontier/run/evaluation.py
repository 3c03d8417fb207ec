"""What the two jobs share that judge a base model or an adapter: loading it, and a record of how that ended."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict

from frontier import outcomes, records
from frontier.errors import UserError
from frontier.machine.device import open_device
from frontier.machine.environment import describe_environment, utc_now
from frontier.machine.limits import memory_of, set_memory_limit
from frontier.machine.meter import open_meter
from frontier.machine.phases import Phases
from frontier.model import dtypes, layers
from frontier.model.execution import Method
from frontier.model.files import and_more
from frontier.model.headers import read_header
from frontier.outcome_types import AccuracyOutcome, BareOutcome, EvaluationOutcome
from frontier.outcomes import Status
from frontier.progress import event
from frontier.request_types import AccuracyRequest, EvaluationRequest, Job
from frontier.run.build import load_base
from frontier.run.recovery import caught
from frontier.units import GIB

# The share of the memory that weights may take which are kept in the dtype of the products beside the stored ones.
SHARE_OF_WEIGHTS = 0.25


def judged_job(
    job: Job,
    judge: Callable[[Job, torch.device, Phases], EvaluationOutcome | AccuracyOutcome],
    unmeasured: dict[str, Any],
) -> None:
    """Write a job's record with the outcome that `judge(job, device, phases)` returns or raises.

    `unmeasured` is what the record says of one without result.
    """
    request, inputs = job["request"], job["input"]
    device = open_device(request["device"], request["cpu_threads"])
    phases = Phases(device)
    environment = describe_environment(device, phases.started_at)
    event(environment=environment)
    without = not_judged(inputs)
    if without:
        outcomes.write(job, unmeasured | without, environment)
        return
    with caught(phases) as ending:
        set_memory_limit((job.get("limits") or {}).get("memory_gib"), open_meter(device))
        outcome = judge(job, device, phases)
    if ending.outcome:
        outcome = unmeasured | ending.outcome
        outcomes.discard_tables(job["output"])
    environment["ended_at"] = utc_now()
    outcomes.write(job, outcome | {"phases": phases.end()}, environment)


def not_judged(inputs: dict[str, Any]) -> BareOutcome | None:
    """Return the outcome of a job that has nothing to judge; None where there is something.

    Where the training left no adapter, its outcome is the training's. Where the model has random weights, it is ok.
    """
    trained = records.read_json(inputs["training"])["outcome"] if "training" in inputs else {"status": Status.OK}
    if trained["status"] not in outcomes.WITH_ADAPTER:
        return {key: trained.get(key) for key in ("status", "phase", "reason")}
    return {"status": Status.OK} if records.read_json(inputs["model"])["architecture_only"] else None


def load_judged(job: Job[EvaluationRequest] | Job[AccuracyRequest], device: torch.device, method: Method):
    """Return the base model, with the adapter in it where the job has one, ready to compute in the request's dtype.

    Where its weights in that dtype are small beside the device's memory and the budget, they are made once: to cast or
    dequantise them takes longer than a product with the few tokens of a step of answers.
    """
    inputs = job["input"]
    on = (job.get("limits") or {}).get("base_on", "device")
    base = load_base(records.read_json(inputs["base"]), device, method=method, base_on=on)
    model = _adapted(base, Path(inputs["adapter"])) if "adapter" in inputs else base
    ready(model, job, device, method)
    # PEFT has put the adapter's layers into the base in place, so that the base computes with it.
    return base


def ready(model, job: Job[EvaluationRequest] | Job[AccuracyRequest], device: torch.device, method: Method):
    """Make a model compute in the dtype of the job's request as `load_judged` has it, and return it."""
    # TF32 would round the products of float32 to ten bits.
    torch.backends.cuda.matmul.allow_tf32 = False
    dtype = dtypes.compute_dtype(job["request"]["compute_dtype"], "", device)
    budget = (job.get("limits") or {}).get("memory_gib")
    room = min(memory_of(device), budget * GIB if budget else math.inf) * SHARE_OF_WEIGHTS
    states = dtypes.state_dtype(dtype, device)
    if any(hasattr(module, "streamed") for module in model.modules()):
        # Weights that are sent over are none that could be kept.
        room = 0
    return layers.compute_in(model, dtype, method.read_directly, int(room), states).eval()


def _adapted(base, folder: Path):
    """Return the base with the adapter of a folder on it.

    Raises UserError where its file lacks a tensor, which would stay as it was drawn, or has one too many.
    """
    held = set(read_header(folder / "adapter_model.safetensors", str(folder)))
    model = PeftModel.from_pretrained(base, folder)
    wanted = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    other = sorted(held ^ wanted)
    if other:
        raise UserError(f"adapter: {folder} and the base do not go together: {and_more(other)} is in one of them alone")
    return model
