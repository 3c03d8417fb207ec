"""What a training costs while it runs, and when to end it: clock, history, checkpoints, budget, divergence."""

import math
import statistics
import time

import torch
from transformers import TrainerCallback

from frontier.machine.device import synchronize
from frontier.machine.phases import Phases
from frontier.outcomes import HISTORY
from frontier.progress import event, say

WARM_UP_STEPS = 3
# What foretells a training: so many steps, or fewer that took so long together.
_TELLING_STEPS, _FEWEST_STEPS, _TELLING_SECONDS = 20, 3, 60
_LATEST_STEPS = 200


def project(seconds: float, steady: list[float], steps_left: int) -> float | None:
    """A training's whole seconds, from those so far and those of its steady steps; None while these tell too little.

    The median of the latest counts: one that is much longer than others, or recorded a new length, foretells nothing.
    """
    few = len(steady) < _TELLING_STEPS and sum(steady) < _TELLING_SECONDS
    if few or len(steady) < _FEWEST_STEPS:
        return None
    return seconds + statistics.median(steady[-_LATEST_STEPS:]) * steps_left


class Clock(TrainerCallback):
    """Wall-clock of the optimiser steps alone, each with its tokens and its loss; data loading stays outside."""

    def __init__(self, run: str, device: torch.device, phases: Phases | None = None):
        self.run, self.device, self.phases = run, device, phases
        self.history: list[dict] = []
        self.seconds = 0.0
        self.tokens = self.steps = self.resumes = 0
        self.losses: list[torch.Tensor] = []
        self._own_seconds: list[float] = []
        self._since_log: list[float] = []
        self._last_line = 0.0

    def state(self) -> dict:
        """What a checkpoint must keep for the clock to count every attempt's useful work once."""
        kept = ("history", "seconds", "tokens", "steps", "resumes", "_since_log")
        return {name: getattr(self, name) for name in kept}

    def restore(self, state: dict) -> None:
        vars(self).update(state)
        self.resumes += 1

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
        event(step=self.steps)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not self._since_log:
            return
        loss = sum(self._since_log) / len(self._since_log)
        self._since_log.clear()
        values = (state.global_step, loss, self._learning_rate, logs.get("grad_norm"), self.tokens, self.seconds)
        self.history.append(dict(zip(HISTORY, map(_finite, values), strict=True)))
        self._say(state, loss)

    def projected_seconds(self, total_steps: int) -> float | None:
        """The whole training's seconds as this process's steps after its warm-up foretell them, where they can."""
        return project(self.seconds, self._own_seconds[WARM_UP_STEPS:], total_steps - self.steps)

    def _enter(self, phase: str) -> None:
        if self.phases:
            self.phases.enter(phase)

    def _say(self, state, loss: float) -> None:
        done = state.global_step == state.max_steps
        if time.monotonic() - self._last_line < 5 and not done:
            return
        self._last_line = time.monotonic()
        left = self.seconds / state.global_step * (state.max_steps - state.global_step)
        say(
            f"{self.run}  step {state.global_step}/{state.max_steps}  loss {loss:.3f}  "
            f"{self.tokens / self.seconds:.0f} tokens/s  {left:.0f} s left"
        )


def _finite(value):
    """A number as JSON can hold it: None for one that is not finite."""
    return None if value is None or not math.isfinite(value) else value
