"""The part of a memory budget that captured steps take beside torch's allocator."""

import contextlib

from frontier.machine.meter import Meter
from frontier.units import GIB


class CaptureBudget:
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
