"""What evaluation and accuracy share: a base model or an adapter is judged, and a record says how that ended."""

from frontier import outcomes, records
from frontier.machine.device import open_device
from frontier.machine.environment import describe, utc_now
from frontier.machine.limits import lift_memory_limit, set_memory_limit
from frontier.machine.meter import open_meter
from frontier.machine.phases import Phases
from frontier.progress import event


def judged_job(job: dict, judge, unmeasured: dict) -> None:
    """Write a job's record with the outcome that `judge(job, device, phases)` returns or raises.

    `unmeasured` is what the record says of one without result.
    """
    request, inputs = job["request"], job["input"]
    device = open_device(request["device"], request["cpu_threads"])
    phases = Phases(device)
    environment = describe(device, phases.started_at)
    event(environment=environment)
    without = not_judged(inputs)
    if without:
        outcomes.write(job, unmeasured | without, environment)
        return
    try:
        set_memory_limit((job.get("limits") or {}).get("memory_gib"), open_meter(device))
        outcome = judge(job, device, phases)
    except (RuntimeError, MemoryError, outcomes.Stop) as error:
        lift_memory_limit()
        outcome = outcomes.from_error(error)
        if outcome is None:
            raise
        if outcomes.may_have_lost_device(outcome):
            phases.leave_device()
        outcome = unmeasured | {"phase": outcomes.phase_of(phases.current)} | outcome
        outcomes.discard_tables(job["output"])
    environment["ended_at"] = utc_now()
    outcomes.write(job, outcome | {"phases": phases.end()}, environment)


def not_judged(inputs: dict) -> dict | None:
    """How it ends for what is not judged: the training's own end where it left no adapter; random weights end well."""
    trained = records.read_json(inputs["training"])["outcome"] if "training" in inputs else {"status": "ok"}
    if trained["status"] not in outcomes.WITH_ADAPTER:
        return {key: trained.get(key) for key in ("status", "phase", "reason")}
    return {"status": "ok"} if records.read_json(inputs["model"])["architecture_only"] else None
