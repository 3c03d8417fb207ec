"""Tell where each configuration stands in a trade-off: its cost with its repeats' spread, and what is said of it."""

from dataclasses import dataclass

import pandas as pd

from frontier.outcome_types import Status
from frontier.results.configurations import Configuration, configurations_of
from frontier.results.figures.bests import Best
from frontier.results.figures.canvas import Drawn

# Rows are of one point where they agree in all of these; memory and time are compared within a device alone.
_PLACE = ["device", "memory_metric"]


@dataclass(frozen=True)
class Point:
    """An arm at its best learning rate, on one device.

    `cost` is the mean of its repeats, `spread` the lowest and the highest of them. `on_frontier` is None where the
    table does not tell.
    """

    best: Best
    cost: float
    spread: tuple[float, float]
    device: str | None
    place: tuple
    on_frontier: bool | None
    is_recommended: bool

    @property
    def is_strong(self) -> bool:
        """Whether a reader should see this one first: nothing beats it, or it is recommended, or nothing is known."""
        return self.on_frontier is not False or self.is_recommended


def points(results: Drawn, table: pd.DataFrame, column: str) -> list[Point]:
    """Return where the arms of a table of best rates stand by the mean of a column; runs that ended ok count."""
    rows = table[table["status"] == Status.OK].dropna(subset=["perplexity", column])
    known = {one.arm: one for one in results.bests}
    row = results.recommended_row
    chosen = None if row is None else (Configuration.of_row(row).arm, row.get("device"))
    groups: dict[tuple[Configuration, tuple], list[int]] = {}
    places = rows[[name for name in _PLACE if name in rows]].itertuples(index=False, name=None)
    for number, (one, place) in enumerate(zip(configurations_of(rows), places, strict=True)):
        groups.setdefault((one.arm, place), []).append(number)
    found = []
    for (arm, place), numbers in groups.items():
        some = rows.iloc[numbers]
        costs = some[column].astype(float)
        told = "pareto" in some and some["pareto"].notna().any()
        found.append(
            Point(
                known[arm],
                float(costs.mean()),
                (float(costs.min()), float(costs.max())),
                some.iloc[0].get("device"),
                place,
                bool(some["pareto"].eq(True).any()) if told else None,
                chosen is not None and chosen == (arm, some.iloc[0].get("device")),
            )
        )
    return found


def frontiers(stands: list[Point]) -> list[list[Point]]:
    """Return those on the frontier by ascending cost, a list for each device and memory metric that has any."""
    found: dict[tuple, list[Point]] = {}
    for one in sorted(stands, key=lambda one: (one.cost, one.best.perplexity)):
        if one.on_frontier:
            found.setdefault(one.place, []).append(one)
    return list(found.values())
