"""Clocks, memory and the machine they were read on."""

import importlib.metadata
import os
import platform
import socket
import subprocess
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
import torch

from frontier.gpus import DEVICE_IDS
from frontier.outcomes import GIB
from frontier.progress import event
from frontier.worker import START

PACKAGES = (
    "snakemake",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "datasets",
    "pandas",
    "matplotlib",
    "scipy",
    "kneed",
    "itables",
    "nvidia-ml-py",
    "Jinja2",
    "gguf",
    "reasoning-gym",
    "liger-kernel",
)


def physical_cores() -> int:
    """The processor cores this process may use, hyper-threads not counted."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def open_device(name: str, cpu_threads: int | None, share: tuple[int, int] = (0, 1)) -> torch.device:
    """The torch device of a config's `device`, with torch told its threads. `auto` is a GPU where there is one.

    `share` says which process of how many this is: each has a GPU of its own, and its part of the threads.
    """
    rank, processes = share
    torch.set_num_threads(max(1, (cpu_threads or physical_cores()) // processes))
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device("cuda", rank) if name.startswith("cuda") else torch.device(name)


def synchronize(device: torch.device) -> None:
    """Wait for the device, so that a clock read next has all of its work behind it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peaks(device: torch.device) -> None:
    """Start the peaks that `read_peaks` reads afresh; on Linux that covers the resident set too."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def read_peaks(device: torch.device) -> dict:
    """Peaks in GiB since `reset_peaks` (and the device's use now); None for what cannot be measured here."""
    peaks = {"allocated_gib": None, "reserved_gib": None, "device_gib": None, "host_gib": _resident_peak() / GIB}
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        peaks |= {
            "allocated_gib": torch.cuda.max_memory_allocated(device) / GIB,
            "reserved_gib": torch.cuda.max_memory_reserved(device) / GIB,
            "device_gib": (total - free) / GIB,
        }
    return peaks


class Phases:
    """Where a process's wall-clock went: from its first instruction on, every second belongs to one phase.

    Peaks are kept for each phase apart, but for `between_steps`, whose peaks count with the steps around it.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.started_at = utc_now()
        self.current = self._measured = "import"
        self.records: dict[str, dict] = {}
        self._since = time.perf_counter() - _age()

    def enter(self, name: str) -> None:
        """End the current phase and begin `name`; a phase entered again goes on counting."""
        synchronize(self.device)
        self._count()
        self.current = name
        if name not in ("between_steps", self._measured):
            self._fold_peaks()
            reset_peaks(self.device)
            self._measured = name
        event(phase=name)

    def leave_device(self) -> None:
        """Ask the device nothing more: one whose context is broken answers each call with an error."""
        self.device = torch.device("cpu")

    def end(self) -> dict:
        """The phases so far, the current one included."""
        self._count()
        self._fold_peaks()
        return self.records

    @contextmanager
    def __call__(self, name: str):
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


def environment(device: torch.device, started_at: str) -> dict:
    """What a reader must know to compare a record with another: machine, device, versions, code, UTC times."""
    record = {
        "host": socket.gethostname(),
        "os": platform.platform(),
        "cpu": _cpu_name(),
        "cpu_threads": torch.get_num_threads(),
        "device": _cpu_name() if device.type == "cpu" else torch.cuda.get_device_name(device),
        "device_ids": os.environ.get(DEVICE_IDS),
        "start": os.environ.get(START),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }
    if device.type == "cuda":
        record["cuda"] = torch.version.cuda
        record["driver"] = _driver()
        record["device_gib"] = torch.cuda.get_device_properties(device).total_memory / GIB
        record["allocator"] = os.environ.get("PYTORCH_CUDA_ALLOC_CONF") or os.environ.get("PYTORCH_ALLOC_CONF")
    return record | _git_state() | {"started_at": started_at, "ended_at": utc_now()}


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _age() -> float:
    """Seconds since this process began, on Linux by the kernel's own clock.

    What psutil says there is up to a second too much: it adds the time of boot, which is told in whole seconds.
    """
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return time.time() - psutil.Process().create_time()
    ticks = int(stat.read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _resident_peak() -> int:
    """The process's peak resident set in bytes: since the last reset on Linux, since its start elsewhere."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _driver() -> str | None:
    version = Path("/sys/module/nvidia/version")
    return version.read_text().strip() if version.exists() else None


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _git_state() -> dict:
    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    status = git("status", "--porcelain", "--untracked-files=no")
    return {"git_commit": git("rev-parse", "HEAD"), "git_clean": None if status is None else not status}
