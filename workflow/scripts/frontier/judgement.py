"""What evaluation and accuracy share: a base model or an adapter is judged, and a record says how that ended."""

from pathlib import Path

from frontier import measure, outcomes, records
from frontier.limits import lift_memory_limit
from frontier.progress import event


def run(job: dict, judge, unmeasured: dict) -> None:
    """Write a job's record with the outcome that `judge(job, device, phases)` returns or raises.

    A run whose training did not end with an adapter has its outcome stand for the judgement too. `unmeasured` is what
    the record says of one without result.
    """
    request, inputs, outputs = job["request"], job["input"], job["output"]
    device = measure.open_device(request["device"], request["cpu_threads"])
    phases = measure.Phases(device)
    environment = measure.environment(device, phases.started_at)
    event(environment=environment)
    trained = records.read_json(inputs["training"])["outcome"] if "training" in inputs else {"status": "ok"}
    if trained["status"] not in outcomes.WITH_ADAPTER:
        reason = {key: trained.get(key) for key in ("status", "phase", "reason")}
        outcomes.write(job, unmeasured | reason, environment)
        return
    try:
        outcome = judge(job, device, phases)
    except (RuntimeError, MemoryError, outcomes.Stop) as error:
        lift_memory_limit()
        outcome = outcomes.from_error(error)
        if outcome is None:
            raise
        if outcomes.may_have_lost_device(outcome):
            phases.leave_device()
        outcome = unmeasured | {"phase": outcomes.phase_of(phases.current)} | outcome
        # What memory did not suffice to write may be there in part.
        for name in outcomes.TABLES:
            if name in outputs:
                Path(outputs[name]).unlink(missing_ok=True)
    environment["ended_at"] = measure.utc_now()
    outcomes.write(job, outcome | {"phases": phases.end()}, environment)
