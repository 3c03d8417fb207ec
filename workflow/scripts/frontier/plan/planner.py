"""What each run of a study will need and take, before any of them starts, by running its step without its data."""

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from frontier.model import packing
from frontier.plan import batches, model_config, roofline, search
from frontier.plan.peak import Peak, are_alike, predict_peak, shortened
from frontier.plan.step import emulated_card, tracer
from frontier.plan.step.trace import trace_step
from frontier.units import GIB

PARTS = tuple(f"{part}_gib" for part in tracer.CATEGORIES)
_UNCOUNTED = (
    "no hours, for epochs counts examples and nobody knows yet how many there are: "
    "give data.train_examples, or make resources/tokens/tokens.json first"
)
# A CUDA context, 0.60 on an H200, and the kernels that a first step loads; a calibration measures both.
CONTEXT_GIB = 0.7
# How much more than is allocated CUDA's allocator was seen to keep (docs/planner.md).
_KEPT = 0.06


@dataclass
class Planner:
    """Predicts runs of one model on one device; what runs have in common is predicted once.

    `rows` are the training examples as tokens, `limit_gib` what a run may hold: the card, or the budget. Where it is
    not known how many examples there will be, rows are not `counted`. `name` is the device's.
    """

    config: object
    rows: list[dict]
    device: emulated_card.TargetDevice
    rates: roofline.Rates | None
    limit_gib: float | None
    context_gib: float
    counted: bool = True
    name: str | None = None
    known: dict = field(default_factory=dict)

    def row(self, request: dict) -> dict:
        """A run's row; what cannot be predicted for want of rates, or of the number of examples, is None."""
        drawn = batches.draw(self.rows, request)
        peak = self.peak(request, batches.largest(drawn))
        unused = max(0.0, peak.held - sum(peak.parts.values()))
        seconds = self.seconds(request, batches.typical(drawn)) if self.rates else None
        steps = request["training"]["steps"] or (self.counted and batches.steps(len(self.rows), request["training"]))
        need = self._held_gib(peak)
        return {
            "run": request["run"],
            "device": self.name,
            "predicted_peak_gib": peak.allocated / GIB,
            **{f"{part}_gib": peak.parts[part] / GIB for part in tracer.CATEGORIES},
            "overhead_gib": self.context_gib + (unused + peak.graphs) / GIB,
            "fits": None if self.limit_gib is None else need <= self.limit_gib,
            "predicted_seconds_per_step": seconds and seconds.seconds,
            "predicted_hours": seconds.seconds * steps / 3600 if seconds and steps else None,
            "limited_by": seconds and seconds.limited_by,
            "largest_batch_that_fits": self.largest_batch(request),
        }

    def peak(self, request: dict, batch: list[dict]) -> Peak:
        return self._once(
            "peak",
            request,
            batch,
            lambda: predict_peak(
                self.config, request, [packing.collate(batch)] * _micro(request)[1], self._lengths, self.device
            ),
        )

    def need_gib(self, request: dict, batch: list[dict]) -> float:
        """What a run holds at its worst moment, context, recorded graphs and unused blocks included."""
        return self._held_gib(self.peak(request, batch))

    def static_gib(self, request: dict) -> float:
        """What a run holds before it computes anything: base, context, adapter and what belongs to it."""
        parts = self.peak(request, batches.largest(batches.draw(self.rows, request))).parts
        return self.context_gib + (parts["weights"] + parts["adapter"]) / GIB

    def seconds(self, request: dict, batch: list[dict]) -> roofline.Time:
        """The time of an optimiser step of micro-batches like `batch`."""

        def predict() -> roofline.Time:
            layers = self.config.get_text_config().num_hidden_layers
            counts = (1, 2) if layers > 2 and are_alike(self.config) else (layers,)
            few = [self._step_time(shortened(self.config, count), request, batch) for count in counts]
            if len(few) == 1:
                return few[0]
            more = (layers - counts[0]) / (counts[1] - counts[0])
            return few[0].times(1 - more).plus(few[1].times(more))

        return self._once("time", request, batch, predict)

    def largest_batch(self, request: dict) -> int | None:
        """The most examples at a time, up to some 32,000 tokens, with which a run fits; None without a limit."""
        if self.limit_gib is None:
            return None

        if self.static_gib(request) > self.limit_gib:
            return 0

        def need(examples: int) -> float:
            return self.need_gib(*self._with_batch(request, examples))

        start = _micro(request)[0]
        most = max(start, int(batches.MOST_TOKENS / statistics.mean(self._lengths)))
        return search.largest(need, self.limit_gib, start, min(most, len(self.rows)))

    def advice(self, request: dict, row: dict) -> str | None:
        """One line for a run that does not fit: what would; or for one that hardly does."""
        run, examples = request["run"].rsplit("-s", 1)[0], _micro(request)[0]
        if row["fits"] is not False:
            return self._caution(run, row) if row["fits"] and self.device.cuda else None
        if row["largest_batch_that_fits"]:
            return f"{run} does not fit at batch {examples}; {row['largest_batch_that_fits']} does"
        if self.static_gib(request) > self.limit_gib:
            base = f"its base alone takes {row['weights_gib']:.1f} GiB of {self.limit_gib:.1f}"
            return f"{run} does not fit at any batch, length or rank: {base}"
        plain = request | {"training": request["training"] | {"cuda_graphs": False}}
        if self.peak(*self._with_batch(request, 1)).graphs and (batch := self.largest_batch(plain)):
            unrecorded = f"with cuda_graphs: false batch {batch} does"
            return f"{run} does not fit at any batch while its steps are recorded; {unrecorded}"
        longest = max(self._lengths)
        length = search.halved(
            lambda length: self.need_gib(*self._with_batch(request, 1, length)), self.limit_gib, longest, least=32
        )
        if length:
            return f"{run} does not fit at batch 1 and length {longest}; length {length} does"
        rank = search.halved(
            lambda rank: self.need_gib(*self._with_batch(request | {"rank": rank}, 1)),
            self.limit_gib,
            request["rank"],
            least=1,
        )
        if rank:
            return f"{run} does not fit at any batch; rank {rank} does at batch 1"
        return (
            f"{run} does not fit at any batch, length or rank: it holds {self.limit_gib:.1f} GiB and more at the least"
        )

    def _caution(self, run: str, row: dict) -> str | None:
        """One line for a run on a card that fits by less than what the allocator may keep."""
        kept = _KEPT * row["predicted_peak_gib"]
        spare = self.limit_gib - row["predicted_peak_gib"] - row["overhead_gib"]
        more = f"the allocator may keep up to {kept:.2f} more than it is asked for"
        return f"{run} fits with {spare:.2f} GiB to spare, and {more}" if spare < kept else None

    def _held_gib(self, peak: Peak) -> float:
        return (peak.held + peak.graphs) / GIB + self.context_gib

    @property
    def _lengths(self) -> list[int]:
        return batches.lengths(self.rows)

    def _with_batch(self, request: dict, examples: int, length: int | None = None) -> tuple[dict, list[dict]]:
        """The request with so many examples at a time, and the largest micro-batch it then draws."""
        rows = batches.cut(self.rows, length) if length else self.rows
        training = request["training"] | {"batch_size": examples, "micro_batch_size": None}
        changed = request | {"training": training}
        return changed, batches.largest(batches.draw(rows, changed))

    def _step_time(self, config, request: dict, batch: list[dict]) -> roofline.Time:
        trace = trace_step(config, request, [packing.collate(batch)], self._lengths, self.device)
        passes = [operation for operation in trace.operations if operation.phase != "update"]
        update = [operation for operation in trace.operations if operation.phase == "update"]
        checkpointing = request["training"]["gradient_checkpointing"]
        one = roofline.time(passes, trace.lengths, self.rates, checkpointing).times(_micro(request)[1])
        beside = roofline.beside(trace.parameters, self.rates)
        return one.plus(roofline.time(update, trace.lengths, self.rates)).plus(beside)

    def _once(self, kind: str, request: dict, batch: list[dict], predict):
        """`predict()`, or what it gave for a run that differs by its seed or its name alone."""
        facts = {key: request[key] for key in ("precision", "rank", "lora", "compute_dtype", "training")}
        shape = [(len(row["input_ids"]), sum(label >= 0 for label in row["labels"])) for row in batch]
        key = json.dumps([kind, facts, sorted(shape)], sort_keys=True)
        if key not in self.known:
            self.known[key] = predict()
        return self.known[key]


def open_planner(study: dict, card: dict, resources: Path) -> tuple[Planner, str]:
    """The planner of a study, and a line that says what it plans for and from.

    `card` has a device's figures (`cards.find`, `calibration.present`), and where they are measured its `rates`.
    """
    cuda = card["capability"] is not None
    device = emulated_card.TargetDevice(cuda, tuple(card["capability"] or (8, 0)))
    if card.get("rates"):
        rates, speed = roofline.from_calibration(card["rates"]), "as calibrated"
    elif card.get("half_tflops") and card.get("bandwidth_gbs"):
        rates, speed = roofline.from_datasheet(card), "by its datasheet"
    else:
        rates, speed = None, "of unknown speed"
    limits = [limit for limit in (card["memory_gib"], study["budget"]["memory_gib"]) if limit]
    context = card.get("context_gib", CONTEXT_GIB) if cuda else psutil.Process().memory_info().rss / GIB
    rows, known = batches.examples(study, resources)
    counted = known != "uncounted"
    shape = model_config.find(study["model"])
    planner = Planner(shape, rows, device, rates, min(limits, default=None), context, counted, card["name"])
    where = {"tokens": "the tokens", "texts": "the texts"}.get(known, "data.max_length, an upper bound")
    line = f"planned for {card['name']} {speed}, within {planner.limit_gib:.1f} GiB, from {where}"
    return planner, line if counted or study["steps"] else f"{line}; {_UNCOUNTED}"


def _micro(request: dict) -> tuple[int, int]:
    """Examples at a time, and how many times an optimiser step."""
    settings = request["training"]
    micro = settings["micro_batch_size"] or settings["batch_size"]
    return micro, settings["batch_size"] // micro
