"""The memory and the time of a step over any number of tokens and at any rank, from the trace of one.

The shape of each tensor tells how it grows: one that has the number of tokens among its dimensions grows with the
tokens, one that has the rank with the rank. So the step is traced with numbers that are no dimension of any model, and
all else follows; over the layers it is drawn out as in `peak`. Nothing is predicted otherwise than in `planner`, which
traces the very batch: a test holds the two together.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from frontier.model import packing
from frontier.model.captured_step import row_lengths
from frontier.plan import roofline
from frontier.plan.peak import GRAPH_KERNEL_BYTES, PAGES_BYTES, few_layers, rounded, shortened
from frontier.plan.step.emulated_card import EmulatedCard
from frontier.plan.step.trace import trace_step
from frontier.plan.step.tracer import Operation, Trace
from frontier.request_types import TrainingRequest
from frontier.units import GIB

# Tokens of the one example that is traced, to which a captured row needs no padding, and more than a slice of the
# loss has where the vocabulary is above 15,420 (`model.loss`).
TOKENS = 17 * 32
# The rank that is traced.
RANK = 23


@dataclass
class Surface:
    """Predicts a run's step for micro-batches of any size, examples all of one length, and for any rank.

    `request` is a run's; its rank and batch do not count. The step is traced when it is first asked for.
    """

    config: Any
    request: TrainingRequest
    device: EmulatedCard
    _traces: dict[int, Trace] = field(default_factory=dict)
    _moments: dict[int, "_Moments"] = field(default_factory=dict)
    _slices: dict[int, int] = field(default_factory=dict)

    def need_of(self, batch: list[dict], lengths: list[int], examples: int, rank: int) -> float:
        """Return the GiB of `need_gib` for a micro-batch of up to so many `examples`, drawn from those of `lengths`.

        Where steps are captured, they are padded to a few lengths, of which the longest counts.
        """
        tokens = sum(len(row["input_ids"]) for row in batch)
        if not self._trace(self._counts[0]).levers["cuda_graphs"]:
            return self.need_gib(tokens, rank)
        padded = row_lengths(lengths, examples)
        return self.need_gib(max(*padded, *row_lengths([max(lengths)], 1)), rank, len(padded))

    def need_gib(self, tokens: int, rank: int, graphs: int = 1) -> float:
        """Return the GiB that a step over so many tokens holds at its worst moment, a context aside.

        `graphs` is how many lengths are captured, if any is.
        """
        peaks = [self._moments_of(count).peaks(tokens / TOKENS, rank / RANK) for count in self._counts]
        kernels = [self._kernels(count, tokens) * GRAPH_KERNEL_BYTES * graphs for count in self._counts]
        pages = PAGES_BYTES * self.device.is_cuda
        if len(peaks) == 1:
            return (max(peaks[0].values()) + kernels[0] + pages) / GIB
        few, many = peaks
        worst = max(value + (many[name] - value) * self._further for name, value in few.items())
        return (worst + pages + kernels[0] + (kernels[1] - kernels[0]) * self._further) / GIB

    def time(self, tokens: int, length: int, rank: int, passes: int, rates: roofline.Rates) -> roofline.Time:
        """Return the time of a step of so many `passes`, each over so many tokens, in examples of `length`."""
        times = [self._timed(count, tokens, length, rank, passes, rates) for count in self._counts]
        return times[0] if len(times) == 1 else times[0].times(1 - self._further).plus(times[1].times(self._further))

    def _timed(self, layers: int, tokens: int, length: int, rank: int, passes: int, rates) -> roofline.Time:
        trace = self._trace(layers)
        update: list[Operation] = []
        slices: list[Operation] = []
        others: list[Operation] = []
        for one in trace.operations:
            kind = update if one.phase == "update" else slices if self._is_of_slice(one) else others
            kind.append(_grown(one, tokens, length, rank))
        squares = [math.sqrt(tokens * length)]
        checkpointing = self.request["training"]["gradient_checkpointing"]
        each = roofline.time(others, squares, rates, checkpointing)
        each = each.plus(roofline.time(slices, squares, rates, checkpointing).times(tokens / TOKENS))
        rest = roofline.time(update, squares, rates).plus(roofline.beside(trace.parameters, rates))
        return each.times(passes).plus(rest)

    def _is_of_slice(self, one: Operation) -> bool:
        """Return whether an operation is of a slice of the loss: with the tokens their number grows, not their size."""
        return any(self._vocabulary in shape for shape in one.shapes) and not any(map(grows_with_tokens, one.shapes))

    def _kernels(self, layers: int, tokens: int) -> float:
        """Return how many kernels a CUDA graph of a step over so many tokens has; 0 where none is captured."""
        trace = self._trace(layers)
        if layers not in self._slices:
            found = sum(one.captured and self._is_of_slice(one) for one in trace.operations)
            self._slices[layers] = found if trace.graph_kernels else 0
        return trace.graph_kernels + self._slices[layers] * (tokens / TOKENS - 1)

    @cached_property
    def _vocabulary(self) -> int:
        return self.config.get_text_config().vocab_size

    @cached_property
    def _counts(self) -> tuple[int, ...]:
        """The numbers of layers that are traced."""
        return few_layers(self.config)

    @cached_property
    def _further(self) -> float:
        """How many times as far as the second of two numbers of layers that of the model is from the first."""
        few, more = self._counts
        return (self.config.get_text_config().num_hidden_layers - few) / (more - few)

    def _moments_of(self, layers: int) -> "_Moments":
        if layers not in self._moments:
            self._moments[layers] = _moments(self._trace(layers), self.device.is_cuda)
        return self._moments[layers]

    def _trace(self, layers: int) -> Trace:
        if layers not in self._traces:
            training = self.request["training"] | {"batch_size": 1, "micro_batch_size": None}
            request = self.request | {"training": training, "rank": RANK}
            row = packing.collate([{"input_ids": [1] * TOKENS, "labels": [1] * TOKENS}])
            config = shortened(self.config, layers)
            self._traces[layers] = trace_step(config, request, [row], [TOKENS], self.device)
        return self._traces[layers]


@dataclass
class _Moments:
    """Bytes held after each allocation or release of a step, by how they grow.

    `plain` and `captured` are (moments, 4): what is the same always, what grows with the tokens, with the rank, and
    with both; `captured` is in the pool of the CUDA graphs. `parts` has the moments of each part of the step.
    """

    plain: np.ndarray
    captured: np.ndarray
    parts: dict[str, np.ndarray]

    def peaks(self, tokens: float, rank: float) -> dict[str, float]:
        """Return the most that each part of the step holds, with so many times the tokens and the rank traced.

        The pool of graphs is never given back.
        """
        growth = np.array([1.0, tokens, rank, tokens * rank])
        held = self.plain @ growth + np.maximum.accumulate(self.captured @ growth)
        return {name: float(held[rows].max()) for name, rows in self.parts.items()}


def _moments(trace: Trace, cuda: bool) -> _Moments:
    """Return the moments of a step; its parts are those of `peak.regions`."""
    events = trace.events
    changes = np.zeros((2, len(events), 4))
    backward = sum(event.phase == "backward" for event in events)
    names, seen = [], 0
    for row, event in enumerate(events):
        column = grows_with_tokens(event.shape) + 2 * (RANK in event.shape)
        changes[int(event.captured), row, column] = rounded(event.size) if cuda else event.size
        seen += event.phase == "backward"
        names.append(event.phase if event.phase != "backward" else f"backward {int(2 * seen > backward)}")
    plain, captured = changes.cumsum(axis=1)
    named = np.array(names)
    return _Moments(plain, captured, {name: np.flatnonzero(named == name) for name in dict.fromkeys(names)})


def grows_with_tokens(shape: Collection[int]) -> bool:
    """Return whether a tensor has the tokens among its dimensions, or all of them but the first, which is no target."""
    return TOKENS in shape or TOKENS - 1 in shape


def _grown(one: Operation, tokens: int, length: int, rank: int) -> Operation:
    """Return an operation as it is over so many tokens and at that rank."""

    def share(shape: Collection[int]) -> float:
        return (tokens / TOKENS if grows_with_tokens(shape) else 1.0) * (rank / RANK if RANK in shape else 1.0)

    # The work of attention grows with the square of each example's length.
    long = math.sqrt(tokens * length) if roofline.is_attention(one.name) else tokens
    sizes = {TOKENS: long, TOKENS - 1: long, RANK: rank}
    shapes: list = [tuple(sizes.get(size, size) for size in shape) for shape in one.shapes]
    return replace(one, shapes=shapes, read=round(sum(size * share(shape) for shape, size in one.moved)), written=0)
