"""Device memory that the driver has quietly moved to the host: the run goes on, tens of times slower.

Windows and WSL do so instead of failing. A run that spilled has a clock, but not that of the card.
"""

import threading
from dataclasses import dataclass

import torch

from frontier.outcomes import GIB

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


def is_spilled(samples: list[Sample]) -> bool:
    """Whether the process holds more than the card has, or its tensors grow while the card stays full."""
    if any(sample.held > sample.total for sample in samples):
        return True
    return any(
        all(sample.free <= _FULL_GIB for sample in window) and window[-1].allocated - window[0].allocated > _GROWTH_GIB
        for window in (samples[i : i + _WINDOW] for i in range(len(samples) - _WINDOW + 1))
    )


class Sampler:
    """Samples a CUDA device while it is entered; on other devices it has nothing to sample."""

    def __init__(self, device: torch.device):
        self.device = device
        self.samples: list[Sample] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        if self.device.type == "cuda":
            self._thread.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def spilled(self) -> bool:
        return is_spilled(self.samples)

    @property
    def peak_device_gib(self) -> float | None:
        """The most that was in use on the device, by this process and any other."""
        return max((sample.total - sample.free for sample in self.samples), default=None)

    def _run(self) -> None:
        while not self._over.wait(_INTERVAL_SECONDS):
            free, total = torch.cuda.mem_get_info(self.device)
            held, allocated = torch.cuda.memory_reserved(self.device), torch.cuda.memory_allocated(self.device)
            self.samples.append(Sample(held / GIB, allocated / GIB, total / GIB, free / GIB))
