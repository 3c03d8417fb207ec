"""A memory budget that the process cannot pass, so that what does not fit fails here and not on the user's desktop."""

import contextlib
from pathlib import Path

import psutil
import torch

from frontier.machine.meter import Meter
from frontier.outcomes import Stop
from frontier.units import GIB


def set_memory_limit(budget_gib: float | None, meter: Meter | None) -> dict:
    """Hold the process to its budget; what was set, for the record. Raises Stop where the budget is spent already.

    On CUDA, with the device's `meter`, the allocator gets what the context leaves of the budget. On a Linux CPU the
    data segment may grow by what of the budget is not resident yet: set after the imports, so that a refusal is an
    error that can be caught.
    """
    if budget_gib is None:
        return {}
    if meter:
        return _limit_cuda(budget_gib, meter)
    if not Path("/proc/self/status").exists():
        return {"memory_limit": "none: this system has no data limit"}
    import resource

    resident = psutil.Process().memory_info().rss
    room = int(budget_gib * GIB) - resident
    if room <= 0:
        reason = f"the budget of {budget_gib:g} GiB is below the {resident / GIB:.2f} GiB that the imports alone take"
        raise Stop("oom", reason, peak_host_gib=resident / GIB)
    # Threads' stacks count: one that is refused ends the process, or is an error that does not speak of memory.
    torch.zeros(2**20).add_(1)
    limit = _data_bytes() + room
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    return {"memory_limit": "data segment", "limit_gib": limit / GIB}


def lift_memory_limit() -> None:
    """Let the process write its record after a refusal."""
    with contextlib.suppress(ImportError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _limit_cuda(budget_gib: float, meter: Meter) -> dict:
    context, room = meter.outside / GIB, budget_gib - meter.outside / GIB
    if room <= 0:
        reason = f"the budget of {budget_gib:g} GiB is below the {context:.2f} GiB that CUDA's context takes"
        raise Stop("oom", reason, peak_held_gib=context)
    meter.limit(int(room * GIB))
    return {
        "memory_limit": "cuda allocator",
        "limit_gib": room,
        "context_gib": context,
        "context_source": meter.source,
    }


def _data_bytes() -> int:
    status = Path("/proc/self/status").read_text("utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
