"""Detect that the driver has moved device memory to the host without a word: the run goes on, tens of times slower.

The drivers of Windows and WSL do so where others refuse memory. The seconds of such a run say nothing about the card.
"""

import threading
from dataclasses import dataclass

from frontier.machine import gpus
from frontier.machine.meter import PROCESS, Meter
from frontier.units import GIB

# Seconds between two samples.
_INTERVAL_SECONDS = 1.0
# A card with no more than this free is full.
_FULL_GIB = 0.05
# GiB. Growth up to this much is not taken for spilling.
_GROWTH_GIB = 0.1
# Samples that are compared with each other, the latest among them.
_WINDOW = 5


@dataclass(frozen=True)
class Sample:
    """GiB of memory at one moment: held by the process, allocated to its tensors, the card's total and what is free."""

    held: float
    allocated: float
    total: float
    free: float


def is_spilled(samples: list[Sample], may_spill: bool = True) -> bool:
    """Return whether the process holds more than the card has, or has grown by more than a full card could give it.

    Without spilling, sudden growth takes memory that was free at the sample before, or that another process gave back
    in between. The second is not ruled out by the samples, so sudden growth counts only where the driver can spill
    (`may_spill`). While the card stays full a process cannot grow at all. Slow growth there counts only if the tensors
    and all that is held both grow: tensors may grow within what is held already, and what is held by a cache.
    """
    if any(sample.held > sample.total for sample in samples):
        return True
    windows = [samples[max(0, end - _WINDOW) : end + 1] for end in range(1, len(samples))]
    return any((may_spill and _took_more(*window)) or _grew_while_full(*window[-_WINDOW:]) for window in windows)


def _took_more(*window: Sample) -> bool:
    """Return whether the card is full and the process has grown by more than the free memory has shrunk.

    That must hold against each earlier sample of the window, since a single one may be taken while memory moves.
    """
    *before, last = window
    taken = min(last.held - sample.held - max(0.0, sample.free - last.free) for sample in before)
    return last.free <= _FULL_GIB and taken > _GROWTH_GIB


def _grew_while_full(*window: Sample) -> bool:
    """Return whether tensors and held memory both grew over a whole window in which the card was full."""
    first, last = window[0], window[-1]
    full = len(window) == _WINDOW and all(sample.free <= _FULL_GIB for sample in window)
    return full and min(last.allocated - first.allocated, last.held - first.held) > _GROWTH_GIB


class Sampler:
    """Samples a CUDA device by its meter, in a thread of its own, while it is entered; does nothing without a meter."""

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
        """Return the most that was in use on the device and that this process held, in GiB, for the record."""
        if not self.samples:
            return {}
        return {
            "peak_device_gib": max(sample.total - sample.free for sample in self.samples),
            "peak_held_gib": max(sample.held for sample in self.samples),
            "held_source": self.source,
        }

    @property
    def source(self) -> str:
        """What `held` is, for the record: the driver's count of this process, or what torch's allocator reserved."""
        if self._told:
            return PROCESS
        return "torch's reserved memory" + (" and the context" if self.meter.trusted else "")

    def sample(self) -> None:
        """Take one sample now."""
        use = self.meter.read()
        self._told = use.own is not None
        values = self.meter.held(use), self.meter.allocated, use.total, use.free
        self.samples.append(Sample(*(value / GIB for value in values)))

    def _run(self) -> None:
        while not self._over.wait(_INTERVAL_SECONDS):
            self.sample()
