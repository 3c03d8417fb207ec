"""What a supervisor looks at while its job runs: signs of life, kills by the kernel, whether Snakemake is there."""

import sys
from contextlib import suppress
from pathlib import Path

import psutil


def kernel_kills() -> int:
    """Return how many processes the kernel has ended for want of memory, by its own counters.

    The counters of the host and of this process's cgroup are added up, so a kill may count twice: only the difference
    of two calls means something, and only that it is not zero.
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
    """Return the Snakemake that this job runs under; it has to be looked for, since shells stand between the two."""
    for process in psutil.Process().parents():
        # The command line of another user's process may be hidden (/proc mounted with hidepid).
        with suppress(psutil.Error):
            if any(Path(word).name == "snakemake" or word == "snakemake" for word in process.cmdline()[:4]):
                return process
    return None


def signs_of_life(process: psutil.Process) -> tuple | None:
    """Return numbers that grow while a process does anything; None if it is gone or another user's."""
    with suppress(psutil.Error), process.oneshot():
        return process.cpu_times()[:2], process.io_counters()[:4] if hasattr(process, "io_counters") else ()
    return None


def end_with(snakemake: psutil.Process | None) -> None:
    """Exit where the Snakemake that this job runs under is gone."""
    if snakemake is not None and not _is_alive(snakemake):
        sys.exit("error: Snakemake is gone; ending its job")


def _is_alive(process: psutil.Process) -> bool:
    """Return whether a process still runs. A zombie, which has ended and waits for its parent, counts as ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
