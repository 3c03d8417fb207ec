"""Clock a training while it runs: its seconds, tokens and losses, a line of progress, and when it will end."""

import csv
import io
import math
import statistics
import time
from contextlib import suppress
from typing import cast

import torch
from transformers import TrainerCallback

from frontier import records
from frontier.machine.device import synchronize
from frontier.machine.phases import Phases
from frontier.outcomes import HISTORY
from frontier.progress import Pacer, event
from frontier.table_types import HistoryRow

# The first steps of a process, which take longer than the others: kernels are loaded and buffers are sized.
WARM_UP_STEPS = 3
# The steady steps from which a training's end can be projected.
_TELLING_STEPS = 20
# The seconds after which fewer steps suffice, since a slow training should not go on for long in vain.
_TELLING_SECONDS = 60
# The fewest steps that suffice then: of these the median passes over one that is much longer.
_FEWEST_STEPS = 3
# The latest steps that a projection looks at.
_LATEST_STEPS = 200


def project(seconds: float, steady: list[float], steps_left: int) -> float | None:
    """Return the seconds of a whole training, from those so far and those of each of its steady steps.

    The median of the latest steps counts, since a single one may be much longer, as where a new length is captured.
    None while there are too few steps to tell.
    """
    few = len(steady) < _TELLING_STEPS and sum(steady) < _TELLING_SECONDS
    if few or len(steady) < _FEWEST_STEPS:
        return None
    return seconds + statistics.median(steady[-_LATEST_STEPS:]) * steps_left


class Clock(TrainerCallback):
    """The wall-clock of the optimiser steps alone, with their tokens and losses; it does not count data loading."""

    def __init__(self, run: str, device: torch.device, phases: Phases | None = None):
        self.run, self.device, self.phases = run, device, phases
        # The table that grows by each logged step, for whoever watches; None for none.
        self.history_file: str | None = None
        # The dtype of the matrix products, by its name.
        self.product_dtype: str | None = None
        self.history: list[HistoryRow] = []
        self.seconds = 0.0
        self.tokens = self.steps = self.resumes = 0
        self.losses: list[torch.Tensor] = []
        self._own_seconds: list[float] = []
        self._since_log: list[float] = []
        self._lines = Pacer(first_at_once=True)

    def state(self) -> dict:
        """Return what a checkpoint must keep, so that the clock counts the useful work of every attempt once."""
        kept = ("history", "seconds", "tokens", "steps", "resumes", "product_dtype")
        return {name: getattr(self, name) for name in kept} | {"_since_log": [*map(_finite, self._since_log)]}

    def restore(self, state: dict) -> None:
        """Go on from a checkpoint's state."""
        self.__dict__.update(state)
        self._since_log = [math.nan if loss is None else loss for loss in self._since_log]
        self.resumes += 1

    def on_train_begin(self, args, state, control, **kwargs):
        # What a watcher sees need not stand at once: the whole table is written again at the end.
        if self.history_file:
            with suppress(OSError):
                write_history(self.history, self.history_file)

    def on_step_begin(self, args, state, control, lr_scheduler=None, **kwargs):
        self._enter("warm_up" if len(self._own_seconds) < WARM_UP_STEPS else "steady")
        self._learning_rate = lr_scheduler.get_last_lr()[0]
        synchronize(self.device)
        self._start = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        synchronize(self.device)
        seconds = time.perf_counter() - self._start
        self.seconds += seconds
        self._own_seconds.append(seconds)
        self.steps = state.global_step
        self._since_log.append(float(sum(self.losses)))
        self.losses.clear()
        self._enter("between_steps")
        event(step=self.steps, steps=state.max_steps, seconds_left=self._seconds_left(state))

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not self._since_log:
            return
        loss = sum(self._since_log) / len(self._since_log)
        self._since_log.clear()
        values = (state.global_step, loss, self._learning_rate, logs.get("grad_norm"), self.tokens, self.seconds)
        self.history.append(cast(HistoryRow, dict(zip(HISTORY, map(_finite, values), strict=True))))
        self._append(self.history[-1])
        event(loss=self.history[-1]["loss"])
        self._say(state, loss)

    def projected_seconds(self, total_steps: int) -> float | None:
        """Return the whole training's seconds, projected from this process's steps after the warm-up, or None."""
        return project(self.seconds, self._own_seconds[WARM_UP_STEPS:], total_steps - self.steps)

    @property
    def own_steps(self) -> int:
        """The optimiser steps of this process, those before a checkpoint that it went on from left out."""
        return len(self._own_seconds)

    @property
    def own_seconds(self) -> float:
        """The seconds of this process's steps."""
        return sum(self._own_seconds)

    def _enter(self, phase: str) -> None:
        if self.phases:
            self.phases.enter(phase)

    def _append(self, row: HistoryRow) -> None:
        if self.history_file:
            with suppress(OSError), open(self.history_file, "a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, HISTORY).writerow(row)

    def _seconds_left(self, state) -> float:
        return self.seconds / state.global_step * (state.max_steps - state.global_step)

    def _say(self, state, loss: float) -> None:
        left = self._seconds_left(state)
        line = (
            f"{self.run}  step {state.global_step}/{state.max_steps}  loss {loss:.3f}  "
            f"{self.tokens / self.seconds:.0f} tokens/s  {left:.0f} s left"
        )
        self._lines.tell(line, is_last=state.global_step == state.max_steps)


def _finite(value):
    """Return a number as JSON can hold it: None for one that is not finite."""
    return None if value is None or not math.isfinite(value) else value


def write_history(history: list[HistoryRow], path: str) -> None:
    """Write the logged steps as a table of the columns of `outcomes.HISTORY`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HISTORY)
    writer.writeheader()
    writer.writerows(history)
    records.write_text(path, text.getvalue())
