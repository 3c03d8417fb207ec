"""A memory budget that the process cannot pass, so that what does not fit fails here and not on the user's desktop."""

import contextlib
from pathlib import Path

import psutil
import torch

from frontier.outcomes import GIB, Stop


def set_memory_limit(budget_gib: float | None, device: torch.device) -> dict:
    """Hold the process to its budget; what was set, for the record. Raises Stop where the budget is spent already.

    On CUDA the allocator gets what the context leaves of the budget. On a Linux CPU the data segment may grow by what
    of the budget is not resident yet: set after the imports, so that a refusal is an error that can be caught.
    """
    if budget_gib is None:
        return {}
    if device.type == "cuda":
        return _limit_cuda(budget_gib, device)
    if not Path("/proc/self/status").exists():
        return {"memory_limit": "none: this system has no data limit"}
    import resource

    resident = psutil.Process().memory_info().rss
    room = int(budget_gib * GIB) - resident
    if room <= 0:
        reason = f"the budget of {budget_gib:g} GiB is below the {resident / GIB:.2f} GiB that the imports alone take"
        raise Stop("oom", reason, peak_host_gib=resident / GIB)
    limit = _data_bytes() + room
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    return {"memory_limit": "data segment", "limit_gib": limit / GIB}


def lift_memory_limit() -> None:
    """Let the process write its record after a refusal."""
    with contextlib.suppress(ImportError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _limit_cuda(budget_gib: float, device: torch.device) -> dict:
    torch.zeros(1, device=device)
    free, total = torch.cuda.mem_get_info(device)
    context = total - free - torch.cuda.memory_reserved(device)
    room = budget_gib * GIB - context
    if room <= 0:
        reason = f"the budget of {budget_gib:g} GiB is below the {context / GIB:.2f} GiB that CUDA's context takes"
        raise Stop("oom", reason, peak_device_gib=context / GIB)
    torch.cuda.set_per_process_memory_fraction(min(1.0, room / total), device)
    return {"memory_limit": "cuda allocator", "limit_gib": room / GIB, "context_gib": context / GIB}


def _data_bytes() -> int:
    status = Path("/proc/self/status").read_text("utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
