"""What could be trained on a card: each well-known shape, and the study's own, in the configurations that fit."""

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from frontier.errors import UserError
from frontier.model import dtypes
from frontier.model.config_file import config_of
from frontier.option_types import OptionRow
from frontier.plan import model_config, roofline
from frontier.plan.batches import MOST_TOKENS
from frontier.plan.peak import KEPT_SHARE
from frontier.plan.step.emulated_card import EmulatedCard
from frontier.plan.surface import Surface
from frontier.request_types import TrainingRequest
from frontier.study import requests, schema, shapes

# What is looked at: a small and a large adapter, and lengths in tokens of a question and of a page.
RANKS = (16, 64)
LENGTHS = (512, 2048)
# Examples of an optimiser step. A power of 2, so that a micro-batch divides it.
BATCH_SIZE = 16
# GiB. What cards are commonly sold with.
COMMON_SIZES = (6, 8, 12, 16, 24, 32, 40, 48, 80)
OWN = "this study's model"


@dataclass(frozen=True)
class Place:
    """What is planned for: a device's name, the GiB that a run may hold, those of its context, its speed if known."""

    name: str
    memory_gib: float
    context_gib: float
    capability: tuple[int, int] | None
    rates: roofline.Rates | None

    @property
    def device(self) -> EmulatedCard:
        return EmulatedCard(self.capability is not None, self.capability or (8, 0))


def names(study: dict) -> list[str]:
    """Return what is looked at: the shapes' names, the largest first, which takes longest, and the study's own."""
    known = shapes.table()
    return [OWN, *sorted(known, key=lambda name: -known[name]["parameters"])]


def look(
    name: str,
    study: dict,
    places: list[Place],
    rows: int,
    hours: float | None,
    precisions: tuple[str, ...] | None = None,
) -> tuple[list[OptionRow], dict[str, float], float]:
    """Return a shape's rows, those that fit, by precision the GiB of its smallest training, and its billions.

    Every configuration that fits one of the places, all of one kind of device, has a row for that place, unless it
    takes more than `hours` for `rows` examples, each learned once. The smallest training is of one short example, with
    activations computed twice. `precisions` are the places' own where they are not given. Raises UserError where the
    study's own shape is not known without a download.
    """
    config = model_config.find(study["model"]) if name == OWN else config_of(shapes.find(name), name)
    billions = _billions(config, name)
    found: list[OptionRow] = []
    least: dict[str, float] = {}
    for precision in precisions or _precisions(places[0]):
        for checkpointing in (True, False):
            surface = Surface(config, _request(precision, checkpointing), places[0].device)
            first = surface.need_gib(LENGTHS[0], RANKS[0]) + places[0].context_gib
            least[precision] = min(first, least.get(precision, first))
            if first > max(place.memory_gib for place in places):
                continue
            looked = _Looked(name, billions, precision, checkpointing, rows)
            found += [
                row
                for row in _fitting(surface, looked, places)
                if hours is None or row["hours"] is None or row["hours"] <= hours
            ]
    return found, least, billions


@dataclass(frozen=True)
class _Looked:
    """What of a shape is looked at, over all ranks and lengths."""

    name: str
    billions: float
    precision: str
    checkpointing: bool
    rows: int


def _fitting(surface: Surface, looked: _Looked, places: list[Place]) -> Iterator[OptionRow]:
    """Yield the rows of those ranks and lengths that fit, for each place."""
    for place in places:
        for length in LENGTHS:
            for rank in RANKS:
                if row := _row(surface, looked, place, rank, length):
                    yield row


def _row(surface: Surface, looked: _Looked, place: Place, rank: int, length: int) -> OptionRow | None:
    """Return a configuration's row for a place; None where no micro-batch fits."""

    @cache
    def need(examples: int) -> float:
        return surface.need_gib(examples * length, rank) + place.context_gib

    # More examples never need less.
    largest = bisect.bisect_right(range(1, MOST_TOKENS // length + 1), place.memory_gib, key=need)
    if not largest:
        return None
    # The one to set leaves what the allocator may keep, where there is a choice.
    kept = KEPT_SHARE if place.capability else 0.0
    sure = bisect.bisect_right(
        range(1, largest + 1), place.memory_gib, key=lambda size: need(size) + kept * (need(size) - place.context_gib)
    )
    micro = math.gcd(BATCH_SIZE, 2 ** int(math.log2(max(1, sure))))
    passes = BATCH_SIZE // micro
    time = surface.time(micro * length, length, rank, passes, place.rates) if place.rates else None
    row = {
        "device": place.name,
        "memory_gib": place.memory_gib,
        "model": looked.name,
        "billions": looked.billions,
        "precision": looked.precision,
        "rank": rank,
        "length": length,
        "gradient_checkpointing": looked.checkpointing,
        "batch_size": BATCH_SIZE,
        "micro_batch_size": micro,
        "largest_micro_batch": largest,
        "peak_gib": need(micro),
        "seconds_per_step": time and time.seconds,
        "hours": time and time.seconds * math.ceil(looked.rows / BATCH_SIZE) / 3600,
        "limited_by": time and time.limited_by,
    }
    return cast(OptionRow, row)


def _precisions(place: Place) -> tuple[str, str]:
    """Return the two ways to store a base: in the 16 bits that the device multiplies, and in four."""
    half = "bf16" if place.capability and dtypes.multiplies_bfloat16(place.capability) else "fp16"
    return half, "nf4"


def _request(precision: str, checkpointing: bool) -> TrainingRequest:
    """Return the request of a training by the workflow's own defaults."""
    study = schema.resolve(
        {
            "model": {"source": "architecture", "config": {"model_type": "llama"}},
            "data": {"source": "reasoning-gym", "train_examples": 1, "validation_examples": 1},
            "steps": 1,
            "batch_size": 1,
            "gradient_checkpointing": checkpointing,
        }
    )
    return requests.training_request(study, f"{precision}-r{RANKS[0]}-s0")


def _billions(config: Any, name: str) -> float:
    """Return a shape's parameters in billions: as published, and of the study's own as transformers builds it."""
    if name != OWN:
        return shapes.table()[name]["parameters"] / 1e9
    return model_config.parameters(config) / 1e9


def known_own(study: dict) -> str | None:
    """Return why the study's own shape cannot be looked at, in one line; None where it can."""
    try:
        model_config.find(study["model"])
    except UserError as error:
        return str(error)
    return None
