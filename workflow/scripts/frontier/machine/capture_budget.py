"""The part of a memory budget that captured steps (CUDA graphs) take; torch's allocator does not count it."""

import contextlib

from frontier.cost_types import Levers
from frontier.machine.meter import Meter
from frontier.units import GIB


class CaptureBudget:
    """A memory budget that captured steps share with torch's allocator, whose limit is lowered by what the steps take.

    `budget_gib` is None where there is no budget: what the steps take is then only counted. `levers` is the record's
    dict of levers, which is brought up to date. Where the process is beyond the budget even after the allocator has
    given back what it does not use, `cuda_graphs` in it becomes False, and the caller must give up the captured steps.
    """

    def __init__(self, budget_gib: float | None, meter: Meter, levers: Levers):
        self.budget_gib, self.meter, self.levers = budget_gib, meter, levers

    @property
    def is_enough(self) -> bool:
        return self.levers["cuda_graphs"]

    @contextlib.contextmanager
    def capturing(self):
        """Count what the block, which captures a step, takes beside the allocator, and check it against the budget."""
        before = self.meter.outside
        with self.meter.watch():
            yield
        taken = (self.meter.outside - before) / GIB
        self.levers["graphs_gib"] = max(0.0, self.levers.get("graphs_gib", 0.0) + taken)
        if self.budget_gib is None:
            return
        if self._is_kept():
            self._limit_allocator()
        else:
            held = (self.meter.reserved + self.meter.outside) / GIB
            reason = f"recorded steps made it {held:.2f} GiB of the device, of a budget of {self.budget_gib:g}"
            self.levers["cuda_graphs"] = False
            self.levers["cuda_graphs_given_up"] = reason

    @contextlib.contextmanager
    def giving_up(self):
        """Raise the allocator's limit by what becomes free while the block frees all captured steps."""
        with self.meter.watch():
            yield
            self.meter.release()
        self._limit_allocator()

    def _is_kept(self) -> bool:
        """Return whether the allocator holds no more than its part, once it has given back what it does not use."""
        if self.meter.reserved > self._allocators_part():
            self.meter.release()
        return self.meter.reserved <= self._allocators_part()

    def _limit_allocator(self) -> None:
        self.meter.limit(self._allocators_part())
        self.levers["limit_gib"] = self._allocators_part() / GIB

    def _allocators_part(self) -> int:
        """Return the bytes of the budget that are left to torch's allocator."""
        return int(self.budget_gib * GIB) - self.meter.outside
