"""The part of a memory budget that captured steps take beside torch's allocator."""

import contextlib

from frontier.cost_types import Levers
from frontier.machine.meter import Meter
from frontier.units import GIB


class CaptureBudget:
    """A memory budget that captured steps share with torch's allocator: what they take beside it, it gets less.

    `budget_gib` is None where there is no budget: what the steps take is then only counted. `levers` is the record's
    dict of levers, in which all is told. Where the process passes the budget although the allocator has given back what
    it can, `cuda_graphs` becomes False there, and the captured steps are to be given up.
    """

    def __init__(self, budget_gib: float | None, meter: Meter, levers: Levers):
        self.budget_gib, self.meter, self.levers = budget_gib, meter, levers

    @property
    def is_enough(self) -> bool:
        return self.levers["cuda_graphs"]

    @contextlib.contextmanager
    def capturing(self):
        """Count what the block, in which a step is captured, takes beside the allocator, and hold it to the budget."""
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
        """Return to the allocator what the block, in which all captured steps are freed, gives back."""
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
