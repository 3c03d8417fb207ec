"""What a training has cost, whether or not it came to its end."""

from typing import Any, cast

from frontier import outcome_types, records
from frontier.cost_types import Cost
from frontier.machine.phases import Phases
from frontier.model import bases
from frontier.model.streaming import Streamed
from frontier.outcome_types import BareOutcome, Status, TrainingOutcome
from frontier.run.clock import Clock
from frontier.units import GIB

# The figures of an outcome that are told of each process, and of all together as the largest; in GiB.
_OF_EACH = (
    "weights_gib peak_memory_gib peak_allocated_gib peak_reserved_gib peak_held_gib peak_device_gib peak_host_gib"
).split()


def cost(clock: Clock, phases: Phases) -> Cost:
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
        "product_dtype": clock.product_dtype,
        "final_train_loss": clock.history[-1]["loss"] if clock.history else None,
        "memory_metric": "cuda_allocated" if on_card else "host_rss",
        "peak_memory_gib": peaks["allocated_gib"] if on_card else peaks["host_gib"],
        "peak_allocated_gib": peaks["allocated_gib"],
        "peak_reserved_gib": peaks["reserved_gib"],
        "peak_device_gib": peaks["device_gib"],
        "peak_host_gib": peaks["host_gib"],
        "resumes": clock.resumes,
        "phases": seconds,
        "wall_seconds": sum(one["seconds"] for one in _each(seconds)),
    }


def streaming_cost(base, clock: Clock) -> dict[str, Any]:
    """Return where a base lay while it was trained on and, where that was the host, what sending it over took."""
    streamed: Streamed | None = getattr(base, "streamed", None)
    if streamed is None:
        return {}
    return {
        "base_on": "host",
        "moved_gib_a_step": streamed.moved_bytes / GIB / max(1, clock.own_steps),
        "link_wait_share": streamed.waited_seconds / clock.own_seconds if clock.own_seconds else None,
        "link_gib_a_second": streamed.link_rate() / GIB,
        "host_memory_is_pinned": streamed.is_pinned,
    }


def unfinished(outcome: BareOutcome, phases: Phases, clock: Clock, inputs: dict[str, Any]) -> TrainingOutcome:
    """Return the outcome of a training that did not come to its end, with what was known by then.

    `outcome` is what `recovery.caught` made of the error. The seconds of a training that was cut short are left out:
    they would be taken for the seconds of a whole one.
    """
    known = cost(clock, phases)
    host, allocated = (
        max((one[name] for one in _each(known["phases"]) if one.get(name) is not None), default=None)
        for name in ("host_gib", "allocated_gib")
    )
    needs: dict[str, float] = {}
    so_far = {"peak_host_gib": host, "peak_allocated_gib": allocated}
    not_measured = dict.fromkeys(("train_seconds", "tokens_per_second", "peak_memory_gib", "final_train_loss"))
    if outcome["status"] == Status.OOM and outcome["phase"] == "load":
        needs = {"needs_gib": bases.weights_gib(records.read_json(inputs["base"]))}
        outcome = outcome | {"reason": f"{outcome['reason']}; the weights alone need {needs['needs_gib']:.1f} GiB"}
    return cast(TrainingOutcome, known | not_measured | so_far | outcome | needs)


def _each(phases: outcome_types.Phases) -> list[dict[str, Any]]:
    """Return what each phase took, without its name."""
    return list(cast(dict[str, dict[str, Any]], phases).values())


def merged(outcomes: list[TrainingOutcome]) -> TrainingOutcome:
    """Return one outcome for all processes: the first's, with the largest of each peak, and every process's peaks.

    Where a process did not end ok, the status and its reason are those of the first such one.
    """
    if len(outcomes) == 1:
        return outcomes[0]
    every = cast(list[dict[str, Any]], outcomes)
    worst = next((one for one in every if one["status"] != Status.OK), every[0])
    ending = {name: worst[name] for name in ("status", "phase", "reason") if name in worst}
    each = [{name: one.get(name) for name in _OF_EACH} for one in every]
    most = {name: max((one[name] for one in each if one[name] is not None), default=None) for name in _OF_EACH}
    return cast(TrainingOutcome, every[0] | ending | most | {"processes": each})
