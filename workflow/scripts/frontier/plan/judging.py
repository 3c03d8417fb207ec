"""Predict what it takes to judge a run's adapter: its evaluation, and its accuracy where that is measured."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

from frontier.model import dtypes
from frontier.model.data.tokens import IGNORED
from frontier.plan import batches, roofline
from frontier.plan.peak import FEW, Peak, are_alike, drawn_out, regions, shortened
from frontier.plan.planner import Planner
from frontier.plan.step.judged import JudgedModel
from frontier.plan.step.tracer import Trace
from frontier.request_types import TrainingRequest
from frontier.run.evaluation import SHARE_OF_WEIGHTS
from frontier.units import GIB

# The rank that is traced: what a judged model holds grows with it by the adapter's weights alone.
_RANK = 16


@dataclass(frozen=True)
class Need:
    """What a job that judges holds in GiB at its worst moment, and how many seconds it takes, None if unknown."""

    gib: float
    seconds: float | None


@dataclass
class Judging:
    """Predicts the jobs that judge the runs of a planner's model, by a study's `evaluation` and `accuracy`."""

    planner: Planner
    evaluation: dict[str, Any]
    accuracy: dict[str, Any]
    _traces: dict = field(default_factory=dict)

    def columns(self, request: TrainingRequest, trained: bool = True) -> dict[str, float | None]:
        """Return a run's columns of the plan: no hours where it is not `trained` or does not fit."""
        found: dict[str, float | None] = {}
        for name, need in (("evaluation", self.losses(request)), ("accuracy", self.answers(request))):
            limit = self.planner.limit_gib
            runs = need if trained and need and (limit is None or need.gib <= limit) else None
            found[f"{name}_gib"] = need.gib if need else None
            found[f"{name}_hours"] = runs.seconds / 3600 if runs and runs.seconds is not None else None
        return found

    def losses(self, request: TrainingRequest, batch_size: int | None = None, dtype: str | None = None) -> Need:
        """Return what an evaluation needs, with another batch size or compute dtype than the study's where given."""
        size = batch_size or self.evaluation["batch_size"]
        # Where nobody knows how many there are to validate, they are taken to be like those that are learned.
        rows = self.planner.held_out or self.planner.rows[:size]
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        dtype = dtype or self.evaluation["compute_dtype"]
        peak, time = self._foretold("losses", request, dtype, batches.largest(parts))
        if time is None or not self.planner.held_out:
            return Need(peak, None)
        _, typical = self._foretold("losses", request, dtype, batches.typical(parts))
        return Need(peak, typical["losses"].seconds * len(rows) / size)

    def answers(self, request: TrainingRequest) -> Need | None:
        """Return what an accuracy needs with every answer as long as it may be; None where none is measured."""
        if not self.accuracy["measure"]:
            return None
        prompts = [
            sum(label == IGNORED for label in row["labels"]) or len(row["labels"]) for row in self.planner.held_out
        ]
        count = min(self.accuracy["examples"] or math.inf, len(prompts) or math.inf)
        size = int(min(self.accuracy["batch_size"], count))
        longest = max(prompts or self.planner.lengths)
        new = self.accuracy["max_new_tokens"]
        peak, time = self._foretold("answers", request, self.accuracy["compute_dtype"], (size, longest, new))
        if time is None or count == math.inf:
            return Need(peak, None)
        return Need(peak, (time["prompts"].seconds + new * time["answer"].seconds) * math.ceil(count / size))

    def _foretold(self, kind: str, request: TrainingRequest, dtype: str, work) -> tuple[float, dict | None]:
        """Return the GiB of one of the two jobs at its worst, and the time of each of its phases if rates are known."""
        base = request | {"rank": _RANK, "lora": request["lora"] | {"alpha": 1.0}, "seed": 0}
        shape = [len(row["input_ids"]) for row in work] if kind == "losses" else work
        key = json.dumps([kind, base["precision"], base["lora"], dtype, shape])
        if key not in self._traces:
            self._traces[key] = self._trace(kind, base, dtype, work)
        peaks, times = self._traces[key]
        more = request["rank"] / _RANK - 1
        most = max(peak.allocated + more * peak.parts["adapter"] for peak in peaks.values())
        return self.planner.context_gib + most / GIB, times

    def _trace(self, kind: str, request: TrainingRequest, dtype: str, work) -> tuple[dict[str, Peak], dict | None]:
        config, card, rates = self.planner.config, self.planner.device, self.planner.rates
        layers = config.get_text_config().num_hidden_layers
        counts = FEW if layers > FEW[1] and are_alike(config) else (layers,)
        products = dtypes.compute_dtype(dtype, "", card.device, card.capability)
        attention = card.attention if kind == "losses" else card.answering
        models = [JudgedModel(shortened(config, count), request, products, attention) for count in counts]
        further = (layers - counts[0]) / (counts[-1] - counts[0]) if len(counts) > 1 else 0.0
        elements = models[0].elements + further * (models[-1].elements - models[0].elements)
        keeps = elements * products.itemsize <= SHARE_OF_WEIGHTS * (self.planner.limit_gib or math.inf) * GIB
        traces: list[Trace] = [
            one.losses(work, card, keeps) if kind == "losses" else one.answers(work[0], work[1:], card, keeps)
            for one in models
        ]
        few, many = (regions(trace, card.is_cuda) for trace in (traces[0], traces[-1]))
        peaks = drawn_out(few, many, layers) if len(counts) > 1 else few
        lengths = batches.lengths(work) if kind == "losses" else [work[1]] * work[0]
        if rates is None:
            return peaks, None
        times = [_by_phase(trace, lengths, rates) for trace in traces]
        return peaks, {
            name: times[0][name].times(1 - further).plus(times[-1][name].times(further)) for name in times[0]
        }


def _by_phase(trace: Trace, lengths: list[int], rates: roofline.Rates) -> dict[str, roofline.Time]:
    """Return the time of each phase of a trace."""
    phases = dict.fromkeys(one.phase for one in trace.operations)
    return {
        phase: roofline.time([one for one in trace.operations if one.phase == phase], lengths, rates)
        for phase in phases
    }
