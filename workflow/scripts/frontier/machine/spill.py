"""Device memory that the driver has quietly moved to the host: the run goes on, tens of times slower.

Windows and WSL do so instead of failing. A run that spilled has a clock, but not that of the card.
"""

import threading
from dataclasses import dataclass

from frontier.machine import gpus
from frontier.machine.meter import PROCESS, Meter
from frontier.units import GIB

_INTERVAL_SECONDS = 1.0
_FULL_GIB = 0.05
_GROWTH_GIB = 0.1
_WINDOW = 5


@dataclass(frozen=True)
class Sample:
    """Memory in GiB at one moment: what the process holds, what its tensors take, what the card has and has free."""

    held: float
    allocated: float
    total: float
    free: float


def is_spilled(samples: list[Sample], may_spill: bool = True) -> bool:
    """Whether the process holds more than the card has, or takes more than the full card can have given it.

    What it takes must come out of what was free a moment ago, or, where the driver may not spill, out of what a
    neighbour gave back in that moment. While the card stays full nothing can be taken: what grows there little by
    little grows in tensors and in all that is held, since tensors alone move within what is held already, and the rest
    alone may be a cache.
    """
    if any(sample.held > sample.total for sample in samples):
        return True
    windows = [samples[max(0, end - _WINDOW) : end + 1] for end in range(1, len(samples))]
    return any((may_spill and _took_more(*window)) or _grew_while_full(*window[-_WINDOW:]) for window in windows)


def _took_more(*window: Sample) -> bool:
    """Whether the last sample holds what was not free at any before: one alone may be read while memory moves."""
    *before, last = window
    taken = min(last.held - sample.held - max(0.0, sample.free - last.free) for sample in before)
    return last.free <= _FULL_GIB and taken > _GROWTH_GIB


def _grew_while_full(*window: Sample) -> bool:
    first, last = window[0], window[-1]
    full = len(window) == _WINDOW and all(sample.free <= _FULL_GIB for sample in window)
    return full and min(last.allocated - first.allocated, last.held - first.held) > _GROWTH_GIB


class Sampler:
    """Samples a CUDA device by its meter while it is entered; without one there is nothing to sample."""

    def __init__(self, meter: Meter | None):
        self.meter = meter
        self.samples: list[Sample] = []
        self._told = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        if self.meter:
            self.sample()
            self._thread.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def spilled(self) -> bool:
        return is_spilled(self.samples, gpus.may_spill())

    def peaks(self) -> dict:
        """For the record, in GiB: the most that the device had in use, by any process, and that this process held."""
        if not self.samples:
            return {}
        return {
            "peak_device_gib": max(sample.total - sample.free for sample in self.samples),
            "peak_held_gib": max(sample.held for sample in self.samples),
            "held_source": self.source,
        }

    @property
    def source(self) -> str:
        """Where `held` is from: the driver's count of this process, or torch's of what it reserved."""
        if self._told:
            return PROCESS
        return "torch's reserved memory" + (" and the context" if self.meter.trusted else "")

    def sample(self) -> None:
        use = self.meter.read()
        self._told = use.own is not None
        values = self.meter.held(use), self.meter.allocated, use.total, use.free
        self.samples.append(Sample(*(value / GIB for value in values)))

    def _run(self) -> None:
        while not self._over.wait(_INTERVAL_SECONDS):
            self.sample()
