"""What a supervisor looks at while it waits: signs of life, the kernel's kills, Snakemake's own end."""

import sys
from contextlib import suppress
from pathlib import Path

import psutil


def kernel_kills() -> int:
    """Return how many processes the kernel has ended for want of memory, by its own counters.

    Those of the whole host and of this process's cgroup are added up: only that the sum grows means something.
    """
    total = 0
    files = [Path("/proc/vmstat")]
    cgroup = Path("/proc/self/cgroup")
    if cgroup.exists():
        for line in cgroup.read_text("utf-8").splitlines():
            files.append(Path("/sys/fs/cgroup") / line.split(":", 2)[2].lstrip("/") / "memory.events")
    for file in files:
        if file.exists():
            total += sum(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith("oom_kill "))
    return total


def snakemake_ancestor() -> psutil.Process | None:
    """Return the Snakemake that this job runs under, whose death no signal tells: shells stand between."""
    for process in psutil.Process().parents():
        # Of another user's process, root's say, a host need not tell the command line (/proc mounted with hidepid).
        with suppress(psutil.Error):
            if any(Path(word).name == "snakemake" or word == "snakemake" for word in process.cmdline()[:4]):
                return process
    return None


def signs_of_life(process: psutil.Process) -> tuple | None:
    """Return numbers that grow while a process does anything; None for one that is gone, or is another user's."""
    with suppress(psutil.Error), process.oneshot():
        return process.cpu_times()[:2], process.io_counters()[:4] if hasattr(process, "io_counters") else ()
    return None


def end_with(snakemake: psutil.Process | None) -> None:
    """Exit where the Snakemake that this job runs under is gone."""
    if snakemake is not None and not _is_alive(snakemake):
        sys.exit("error: Snakemake is gone; ending its job")


def _is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs still; psutil says so of one, too, whose parent has not asked for its end yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
