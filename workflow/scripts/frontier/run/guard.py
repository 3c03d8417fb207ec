"""End a training that diverged, is over its hours or is to stop, and ask for checkpoints."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from frontier.jobs import stopping
from frontier.outcomes import Status, Stop
from frontier.run import checkpoints
from frontier.run.clock import Clock

# Logged steps in a row without a finite loss, or with a loss scale below 1, after which a training has diverged.
DIVERGED_STEPS = 3


class Guard(TrainerCallback):
    """A callback that ends a training by raising `Stop`, and asks for checkpoints as often as the limits say.

    `limits` has the config's budget, of which the hours count here, and how often checkpoints are made; `identity` is
    the job's digest, which checkpoints are marked with. `stop` says that the training is to stop: after the step that
    ends next a checkpoint is made, and `Stopped` raised. `loss_scale` returns the scale of float16's losses, or None.
    """

    def __init__(
        self,
        clock: Clock,
        limits: Mapping[str, Any],
        identity: str,
        stop: stopping.Stop | None = None,
        loss_scale=lambda: None,
    ):
        self.clock, self.limits, self.identity, self.loss_scale = clock, limits, identity, loss_scale
        self.stop = stop
        self._not_finite = self._collapsed = self._logged = 0
        self._saved_at = time.monotonic()

    def on_train_begin(self, args, state, control, **kwargs):
        if self.stop:
            self.stop.defer()

    def on_step_end(self, args, state, control, **kwargs):
        if self.limits.get("hours") and not self.limits.get("continue_over_time"):
            self._keep_to(self.limits["hours"], state)
        if self._checkpoint_is_due(state) and state.global_step < state.max_steps:
            control.should_save = True
            if self.clock.phases:
                self.clock.phases.enter("checkpoints")

    def on_log(self, args, state, control, **kwargs):
        # The Trainer logs once more at its end, without a new step: that is no further row of the history.
        if len(self.clock.history) == self._logged:
            return
        self._logged = len(self.clock.history)
        finite = self.clock.history[-1]["loss"] is not None
        self._not_finite = 0 if finite else self._not_finite + 1
        scale = self.loss_scale()
        self._collapsed = self._collapsed + 1 if scale is not None and scale < 1 else 0
        if self._not_finite >= DIVERGED_STEPS:
            raise Stop(
                Status.DIVERGED, f"loss not finite for {DIVERGED_STEPS} logged steps, at step {state.global_step}"
            )
        if self._collapsed >= DIVERGED_STEPS:
            raise Stop(
                Status.DIVERGED, f"loss scale below 1 for {DIVERGED_STEPS} logged steps, at step {state.global_step}"
            )

    def on_train_end(self, args, state, control, **kwargs):
        # The history has all steps by now, those since the last regular log included.
        if self.clock.history and self.clock.history[-1]["loss"] is None:
            raise Stop(Status.DIVERGED, f"loss not finite at the end, at step {state.global_step}")

    def on_save(self, args, state, control, **kwargs):
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        checkpoints.seal(folder, self.identity, self.clock.state())
        self._saved_at = time.monotonic()
        if self.clock.phases:
            self.clock.phases.enter("between_steps")
        if self._is_to_stop:
            raise stopping.Stopped

    @property
    def _is_to_stop(self) -> bool:
        return self.stop is not None and self.stop.requested

    def _keep_to(self, hours: float, state) -> None:
        """Raise Stop where the training has spent its hours, or is projected to spend more."""
        spent = self.clock.seconds / 3600
        projected = (self.clock.projected_seconds(state.max_steps) or 0.0) / 3600
        if projected > hours:
            reason = f"projected to take {projected:.3g} h, over the budget of {hours:g} h"
            raise Stop(Status.OVER_TIME, reason, projected_hours=projected)
        if spent > hours:
            reason = f"the budget of {hours:g} h was spent at step {state.global_step} of {state.max_steps}"
            raise Stop(Status.OVER_TIME, reason, projected_hours=spent / state.global_step * state.max_steps)

    def _checkpoint_is_due(self, state) -> bool:
        minutes, steps = self.limits.get("checkpoint_minutes"), self.limits.get("checkpoint_steps")
        by_time = minutes is not None and time.monotonic() - self._saved_at >= minutes * 60
        return self._is_to_stop or by_time or bool(steps and state.global_step % steps == 0)
