"""A memory budget that the process cannot pass, so that what does not fit fails here and not on the user's desktop."""

import contextlib
from pathlib import Path

import psutil
import torch

from frontier.nvml import Meter
from frontier.outcomes import GIB, Stop


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


class GraphRoom:
    """What recorded steps take beside the allocator, taken from the allocator's part of the budget.

    `levers`, the record's, learns of it; where all together passes the budget even so, `cuda_graphs` is False there
    and the recorded steps are to be given up.
    """

    def __init__(self, budget_gib: float | None, meter: Meter, levers: dict):
        self.budget_gib, self.meter, self.levers = budget_gib, meter, levers

    @property
    def is_enough(self) -> bool:
        return self.levers["cuda_graphs"]

    @contextlib.contextmanager
    def recording(self):
        """Around the recording of a step."""
        before = self.meter.outside
        with self.meter.watch():
            yield
        taken = (self.meter.outside - before) / GIB
        self.levers["graphs_gib"] = max(0.0, self.levers.get("graphs_gib", 0.0) + taken)
        if self.budget_gib is None:
            return
        if self._is_inside():
            self._share_out()
        else:
            held = (self.meter.reserved + self.meter.outside) / GIB
            reason = f"recorded steps made it {held:.2f} GiB of the device, of a budget of {self.budget_gib:g}"
            self.levers.update(cuda_graphs=False, cuda_graphs_given_up=reason)

    @contextlib.contextmanager
    def giving_up(self):
        """Around the end of all recorded steps."""
        with self.meter.watch():
            yield
            self.meter.release()
        self._share_out()

    def _is_inside(self) -> bool:
        if self.meter.reserved > self._room():
            self.meter.release()
        return self.meter.reserved <= self._room()

    def _share_out(self) -> None:
        self.meter.limit(self._room())
        self.levers["limit_gib"] = self._room() / GIB

    def _room(self) -> int:
        return int(self.budget_gib * GIB) - self.meter.outside


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
