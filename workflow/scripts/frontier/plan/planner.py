"""Predict what each run of a study will need and take, before any of them starts, by tracing its step without data."""

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psutil

from frontier.model import packing
from frontier.plan import batches, model_config, roofline, search
from frontier.plan.batches import micro_batches
from frontier.plan.peak import Peak, are_alike, predict_peak, shortened
from frontier.plan.step import tracer
from frontier.plan.step.emulated_card import EmulatedCard
from frontier.plan.step.trace import trace_step
from frontier.plan.surface import Surface
from frontier.request_types import TrainingRequest
from frontier.table_types import PlanRow
from frontier.units import GIB

PARTS = tuple(f"{part}_gib" for part in tracer.CATEGORIES)
_UNCOUNTED = (
    "no hours, for epochs counts examples and nobody knows yet how many there are: "
    "give data.train_examples, or make resources/tokens/tokens.json first"
)
# GiB within which a surface and the plan of the very batch are the same.
_NEAR_GIB = 0.01
# GiB that a CUDA context takes, 0.60 on an H200, with the kernels that a first step loads. A calibration measures both.
CONTEXT_GIB = 0.7


@dataclass
class Planner:
    """Predicts the runs of one model on one device; what several runs share is predicted once.

    `rows` are the training examples as tokens, `held_out` those of the validation split, none where nobody knows how
    many; `counted` is False if the number of `rows` is not known. `limit_gib` is what a run may hold, by the card and
    the budget; None for no limit. `name` is the device's. `predicted` keeps predictions.
    """

    config: Any
    rows: list[dict]
    device: EmulatedCard
    rates: roofline.Rates | None
    limit_gib: float | None
    context_gib: float
    counted: bool = True
    name: str | None = None
    held_out: list[dict] = field(default_factory=list)
    predicted: dict = field(default_factory=dict)

    @property
    def lengths(self) -> list[int]:
        """The training examples' lengths in tokens."""
        return batches.lengths(self.rows)

    def row(self, request: TrainingRequest) -> PlanRow:
        """Return a run's row; times are None without the device's rates.

        Hours are None also where the run does not fit, or nobody knows how many steps it has.
        """
        drawn = batches.draw(self.rows, request)
        peak = self.peak(request, batches.largest(drawn))
        unused = max(0.0, peak.held - sum(peak.parts.values()))
        time = self.step_time(request, batches.typical(drawn)) if self.rates else None
        steps = request["training"]["steps"] or (self.counted and batches.steps(len(self.rows), request["training"]))
        need = self._held_gib(peak)
        fits = None if self.limit_gib is None else need <= self.limit_gib
        seen = steps and round(steps * request["training"]["batch_size"] * statistics.fmean(self.lengths))
        row = {
            "run": request["run"],
            "device": self.name,
            "predicted_peak_gib": need,
            "allocated_gib": peak.allocated / GIB,
            **{f"{part}_gib": peak.parts[part] / GIB for part in tracer.CATEGORIES},
            "overhead_gib": self.context_gib + (unused + peak.graphs) / GIB,
            "fits": fits,
            "examples": len(self.rows) if self.counted else None,
            "steps": steps or None,
            "tokens": seen or None,
            "predicted_seconds_per_step": time and time.seconds,
            "predicted_hours": time.seconds * steps / 3600 if time and steps and fits is not False else None,
            "limited_by": time and time.limited_by,
            "largest_batch_that_fits": self.largest_batch(request),
        }
        return cast(PlanRow, row)

    def peak(self, request: TrainingRequest, batch: list[dict]) -> Peak:
        """Return the peak of an optimiser step of micro-batches like `batch`."""

        def predict() -> Peak:
            rows = [packing.collate(batch)] * micro_batches(request)[1]
            return predict_peak(self.config, request, rows, self.lengths, self.device)

        return self._once("peak", request, batch, predict)

    def need_gib(self, request: TrainingRequest, batch: list[dict]) -> float:
        """Return the GiB that a run holds at its peak, with context, CUDA graphs and the allocator's unused blocks."""
        return self._held_gib(self.peak(request, batch))

    def static_gib(self, request: TrainingRequest) -> float:
        """Return the GiB that a run holds before it computes anything: context, base and adapter."""
        parts = self.peak(request, batches.largest(batches.draw(self.rows, request))).parts
        return self.context_gib + (parts["weights"] + parts["adapter"]) / GIB

    def step_time(self, request: TrainingRequest, batch: list[dict]) -> roofline.Time:
        """Return the time of an optimiser step of micro-batches like `batch`."""

        def predict() -> roofline.Time:
            layers = self.config.get_text_config().num_hidden_layers
            counts: tuple[int, ...] = (1, 2) if layers > 2 and are_alike(self.config) else (layers,)
            few = [self._traced_time(shortened(self.config, count), request, batch) for count in counts]
            if len(few) == 1:
                return few[0]
            more = (layers - counts[0]) / (counts[1] - counts[0])
            return few[0].times(1 - more).plus(few[1].times(more))

        return self._once("time", request, batch, predict)

    def largest_batch(self, request: TrainingRequest) -> int | None:
        """Return the most examples at a time, up to some 32,000 tokens, with which a run fits; None without a limit."""
        if self.limit_gib is None:
            return None

        if self.static_gib(request) > self.limit_gib:
            return 0

        surface = self.surface(request)

        def need(examples: int) -> float:
            changed, batch = self.with_batch(request, examples)
            about = self.context_gib + surface.need_of(batch, self.lengths, examples, request["rank"])
            return about if abs(about - self.limit_gib) > _NEAR_GIB else self.need_gib(changed, batch)

        start, _ = micro_batches(request)
        most = max(start, int(batches.MOST_TOKENS / statistics.mean(self.lengths)))
        return search.largest(need, self.limit_gib, start, min(most, len(self.rows)))

    def surface(self, request: TrainingRequest) -> Surface:
        """Return the surface of a run's steps, which those of other ranks and batches share."""
        training = request["training"] | {"batch_size": 1, "micro_batch_size": None}
        alike = request | {"rank": 0, "lora": request["lora"] | {"alpha": 1.0}, "training": training}
        return self._once("surface", alike, [], lambda: Surface(self.config, request, self.device))

    def with_batch(
        self, request: TrainingRequest, examples: int, length: int | None = None
    ) -> tuple[TrainingRequest, list[dict]]:
        """Return the request with so many examples at a time, and the largest micro-batch that it then draws.

        With a `length` the examples are cut to it.
        """
        rows = batches.cut(self.rows, length) if length else self.rows
        training = request["training"] | {"batch_size": examples, "micro_batch_size": None}
        changed = request | {"training": training}
        return changed, batches.largest(batches.draw(rows, changed))

    def _held_gib(self, peak: Peak) -> float:
        return (peak.held + peak.graphs) / GIB + self.context_gib

    def _traced_time(self, config, request: TrainingRequest, batch: list[dict]) -> roofline.Time:
        """Return the time of a step of as many layers as `config` has, its micro-batches all like `batch`."""
        trace = trace_step(config, request, [packing.collate(batch)], self.lengths, self.device)
        passes = [operation for operation in trace.operations if operation.phase != "update"]
        update = [operation for operation in trace.operations if operation.phase == "update"]
        checkpointing = request["training"]["gradient_checkpointing"]
        one = roofline.time(passes, trace.lengths, self.rates, checkpointing).times(micro_batches(request)[1])
        beside = roofline.beside(trace.parameters, self.rates)
        return one.plus(roofline.time(update, trace.lengths, self.rates)).plus(beside)

    def _once(self, kind: str, request: TrainingRequest, batch: list[dict], predict):
        """Return `predict()`, or its earlier result for a run that differs only by its seed or its name."""
        key = batches.facts(kind, request, batch)
        if key not in self.predicted:
            self.predicted[key] = predict()
        return self.predicted[key]


def open_planner(study: dict, figures: dict, resources: Path) -> tuple[Planner, str]:
    """Return the planner of a study, and a line that says what it plans for and from.

    `figures` are a device's, from `cards.find` or `calibration.present`, with `rates` if those were measured.
    """
    cuda = figures["capability"] is not None
    device = EmulatedCard(cuda, tuple(figures["capability"] or (8, 0)))
    rates, speed = roofline.of_figures(figures)
    limits = [limit for limit in (figures["memory_gib"], study["budget"]["memory_gib"]) if limit]
    context = figures.get("context_gib", CONTEXT_GIB) if cuda else psutil.Process().memory_info().rss / GIB
    splits, known = batches.examples(study, resources)
    counted = known != "uncounted"
    shape = model_config.find(study["model"])
    held = min(limits, default=None), context
    planner = Planner(shape, splits["train"], device, rates, *held, counted, figures["name"], splits["validation"])
    where = {"tokens": "the tokens", "tokenizer": "the texts by the tokenizer", "texts": "the texts"}.get(
        known, "data.max_length, an upper bound"
    )
    line = f"planned for {figures['name']} {speed}, within {planner.limit_gib:.1f} GiB, from {where}"
    return planner, line if counted or study["steps"] else f"{line}; {_UNCOUNTED}"
