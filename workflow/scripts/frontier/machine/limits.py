"""Cap the memory of a job's process: what does not fit fails in the job, and takes nothing from the user's desktop."""

import contextlib
from pathlib import Path
from typing import Any

import psutil
import torch

from frontier.machine import control_groups
from frontier.machine.meter import Meter
from frontier.outcomes import Status, Stop
from frontier.units import GIB


def set_memory_limit(budget_gib: float | None, meter: Meter | None) -> dict[str, Any]:
    """Hold the process to its budget and return what was set, for the record.

    On CUDA, with the device's `meter`, torch's allocator may hold what CUDA's context leaves of the budget. On a CPU
    under Linux the data segment may grow by the part of the budget that is not resident yet; other systems have no such
    limit. To be called after the imports: their memory counts, and a refusal within them could not be caught. Raises
    Stop where the budget is spent already.
    """
    if budget_gib is None:
        return {}
    if meter:
        return _limit_cuda(budget_gib, meter)
    if not Path("/proc/self/status").exists():
        return {"memory_limit": "none: this system has no data limit"}
    import resource

    resident = psutil.Process().memory_info().rss
    left = int(budget_gib * GIB) - resident
    if left <= 0:
        reason = f"the budget of {budget_gib:g} GiB is below the {resident / GIB:.2f} GiB that the imports alone take"
        raise Stop(Status.OOM, reason, peak_host_gib=resident / GIB)
    # This starts torch's threads now. Their stacks count, and a thread that is refused later ends the process, or
    # raises an error that does not speak of memory.
    torch.zeros(2**20).add_(1)
    limit = _data_bytes() + left
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    return {"memory_limit": "data segment", "limit_gib": limit / GIB}


def memory_of(device: torch.device) -> int:
    """Return the bytes of memory that there are for a device: a GPU's own, or as much of the host's as is allowed."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    host = psutil.virtual_memory().total
    return min(host, control_groups.memory_bytes() or host)


def lift_memory_limit() -> None:
    """Lift the limit on the data segment, so that the process can write its record after a refusal."""
    with contextlib.suppress(ImportError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _limit_cuda(budget_gib: float, meter: Meter) -> dict[str, Any]:
    context = meter.outside / GIB
    left = budget_gib - context
    if left <= 0:
        reason = f"the budget of {budget_gib:g} GiB is below the {context:.2f} GiB that CUDA's context takes"
        raise Stop(Status.OOM, reason, peak_held_gib=context)
    meter.limit(int(left * GIB))
    return {
        "memory_limit": "cuda allocator",
        "limit_gib": left,
        "context_gib": context,
        "context_source": meter.source,
    }


def _data_bytes() -> int:
    """Return the size of this process's data segment in bytes, by Linux."""
    status = Path("/proc/self/status").read_text("utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
