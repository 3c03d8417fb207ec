"""Recover from an error that is a result of the experiment, so that a record can be written of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from frontier import outcomes
from frontier.machine.limits import lift_memory_limit
from frontier.machine.phases import Phases
from frontier.outcome_types import BareOutcome


@dataclass
class Ending:
    """The outcome and the error that ended a block; both are None where the block came to its own end."""

    outcome: BareOutcome | None = None
    error: BaseException | None = None


@contextmanager
def caught(phases: Phases, before_raising: Callable[[], None] = lambda: None) -> Iterator[Ending]:
    """Catch an error that is an outcome of the experiment, and yield the `Ending` that then has it and its phase.

    The process is then ready to write its record: its memory limit is lifted, and a device that may be lost is asked
    nothing more. Any other error is raised on, after `before_raising()` where it is of a kind that outcomes are of.
    """
    ending = Ending()
    try:
        yield ending
    except (RuntimeError, MemoryError, outcomes.Stop) as error:
        lift_memory_limit()
        outcome = outcomes.from_error(error)
        if outcome is None:
            before_raising()
            raise
        if outcomes.may_have_lost_device(outcome):
            phases.leave_device()
        ending.outcome = {"phase": outcomes.phase_of(phases.current)} | outcome
        # The error keeps the frames that it passed, and so the model: to free that might call a device that is lost.
        ending.error = error
