"""What a training has cost, whether or not it came to its end."""

from frontier import records
from frontier.machine.phases import Phases
from frontier.model import bases
from frontier.outcomes import Status
from frontier.run.clock import Clock


def cost(clock: Clock, phases: Phases) -> dict:
    """Return what the training has cost so far; None for what was not measured."""
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


def unfinished(outcome: dict, phases: Phases, clock: Clock, inputs: dict) -> dict:
    """Return the outcome of a training that did not come to its end, with what was known by then.

    `outcome` is what `recovery.caught` made of the error. The seconds of a training that was cut short are left out:
    they would be taken for the seconds of a whole one.
    """
    known = cost(clock, phases)
    host, allocated = (
        max((one[name] for one in known["phases"].values() if one.get(name) is not None), default=None)
        for name in ("host_gib", "allocated_gib")
    )
    so_far = {"peak_host_gib": host, "peak_allocated_gib": allocated}
    not_measured = dict.fromkeys(("train_seconds", "tokens_per_second", "peak_memory_gib", "final_train_loss"))
    if outcome["status"] == Status.OOM and outcome["phase"] == "load":
        needed = bases.weights_gib(records.read_json(inputs["base"]))
        outcome = outcome | {"needs_gib": needed}
        outcome["reason"] += f"; the weights alone need {needed:.1f} GiB"
    return known | not_measured | so_far | outcome
