"""Measure the time and the memory peaks of each phase of a process; each second belongs to exactly one phase."""

import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psutil
import torch

from frontier import outcome_types
from frontier.machine.device import synchronize
from frontier.machine.environment import utc_now
from frontier.progress import event
from frontier.units import GIB


def reset_peaks(device: torch.device) -> None:
    """Reset the peaks that `read_peaks` reads: torch's, and on Linux the resident set's too."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def read_peaks(device: torch.device) -> dict[str, float | None]:
    """Return the peaks in GiB since `reset_peaks`, and the device's use now; None for what cannot be measured here."""
    peaks: dict[str, float | None] = dict.fromkeys(("allocated_gib", "reserved_gib", "device_gib"))
    peaks["host_gib"] = _resident_peak() / GIB
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        peaks |= {
            "allocated_gib": torch.cuda.max_memory_allocated(device) / GIB,
            "reserved_gib": torch.cuda.max_memory_reserved(device) / GIB,
            "device_gib": (total - free) / GIB,
        }
    return peaks


class Phases:
    """The phases of a process: each second since its first instruction belongs to one of them.

    Each phase has memory peaks of its own, except `between_steps`, whose peaks count with the phase before it.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.started_at = utc_now()
        self.current = self._measured = "import"
        self.records: dict[str, dict[str, Any]] = {}
        self._since = time.perf_counter() - _age()

    def enter(self, name: str) -> None:
        """End the current phase and begin `name`, whose seconds are added to those of earlier times in that phase."""
        synchronize(self.device)
        self._count()
        self.current = name
        if name not in ("between_steps", self._measured):
            self._fold_peaks()
            reset_peaks(self.device)
            self._measured = name
        event(phase=name)

    def leave_device(self) -> None:
        """Make no more calls to the device: after CUDA's context is broken each would raise an error."""
        self.device = torch.device("cpu")

    def end(self) -> outcome_types.Phases:
        """Return the seconds and peaks of each phase so far, the current one included."""
        self._count()
        self._fold_peaks()
        return cast(outcome_types.Phases, self.records)

    @contextmanager
    def __call__(self, name: str):
        """Count the time of the block as phase `name`, and the time after it as `rest`."""
        self.enter(name)
        yield
        self.enter("rest")

    def _count(self) -> None:
        now = time.perf_counter()
        record = self.records.setdefault(self.current, {"seconds": 0.0})
        record["seconds"] += now - self._since
        self._since = now

    def _fold_peaks(self) -> None:
        record = self.records.setdefault(self._measured, {"seconds": 0.0})
        for name, value in read_peaks(self.device).items():
            before = record.get(name)
            record[name] = value if before is None else max(value, before)


def _age() -> float:
    """Return the seconds since this process began, on Linux by the kernel's own clock.

    psutil's figure is up to a second too large there: it adds the time of boot, which is known in whole seconds only.
    """
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return time.time() - psutil.Process().create_time()
    ticks = int(stat.read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _resident_peak() -> int:
    """Return the process's peak resident set in bytes: since the last reset on Linux, since its start elsewhere."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
