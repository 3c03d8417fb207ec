"""Give each arm its look: colour and marker by precision, dashes by its further settings, strength by its rank."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from matplotlib.lines import Line2D

from frontier.results.configurations import Configuration
from frontier.results.figures.bests import Best, setting
from frontier.results.figures.canvas import COLOURS, INK, MARKERS, MUTED, SURFACE

DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 3)), (0, (1, 3)))
# How strong the line of the lowest rank is drawn; the highest is drawn in full.
_WEAKEST = 0.35
# How wide all lines through ranks stand side by side, and two of them at most, in doublings of the rank.
_SPREAD, _STEP = 0.5, 0.12
# The line at the reference's level, and the ring around it.
LEVEL: dict[str, Any] = {"color": MUTED, "lw": 1.0, "ls": (0, (1, 2))}
RING: dict[str, Any] = {"marker": "o", "ls": "none", "mfc": "none", "mec": INK, "mew": 1.2, "ms": 13}
# What the legend calls the vertical bar of an arm.
GAP = "gap to the best, 95% interval"
# What is under the marker of the recommended configuration.
STAR: dict[str, Any] = {"marker": "*", "ls": "none", "mfc": INK, "mec": SURFACE, "mew": 0.8, "ms": 20}


@dataclass(frozen=True)
class Looks:
    """The looks of all arms of a figure; `lines` are the pairs of a precision and further settings, in order."""

    lines: list[tuple[str, tuple]]
    settings: list[tuple]
    ranks: list[int]

    @classmethod
    def of(cls, arms: Iterable[Configuration]) -> "Looks":
        """Return the looks of the arms."""
        arms = sorted(set(arms))
        settings = sorted({one.others for one in arms})
        lines = {(one.precision, one.others) for one in arms}
        order = [*COLOURS]
        return cls(
            sorted(lines, key=lambda line: (order.index(line[0]), line[1])),
            settings,
            sorted({one.rank for one in arms}),
        )

    def line(self, arm: Configuration) -> dict[str, Any]:
        """Return how a line of an arm is drawn."""
        dashes = DASHES[self.settings.index(arm.others) % len(DASHES)]
        return {"color": COLOURS[arm.precision], "ls": dashes}

    def strength(self, arm: Configuration) -> float:
        """Return how opaque an arm is where lines of several ranks stand together."""
        steps = max(len(self.ranks) - 1, 1)
        return 1 - (1 - _WEAKEST) * (steps - self.ranks.index(arm.rank)) / steps if len(self.ranks) > 1 else 1.0

    def place(self, arm: Configuration) -> float:
        """Return where an arm stands on an axis of ranks: beside those of other lines, so that none hides another."""
        count = len(self.lines)
        step = min(_STEP, _SPREAD / count)
        return arm.rank * 2 ** (step * (self.lines.index((arm.precision, arm.others)) - (count - 1) / 2))


def marker(one: Best) -> dict[str, Any]:
    """Return the marker of an arm, hollow where its best rate is at an edge of those tried."""
    colour = COLOURS[one.arm.precision]
    hollow = {"mfc": SURFACE, "mec": colour, "mew": 1.5}
    return {"ls": "none", "marker": MARKERS[one.arm.precision], "color": colour} | (
        hollow if one.known.edge else {"mec": SURFACE, "mew": 0.8}
    )


def arm_keys(picked: list[Best], looks: Looks) -> list[Line2D]:
    """Return the legend's entries: each precision's marker, each setting's dashes, the best, the bars, the edge."""
    look: dict[str, Any] = {"ls": "none", "mec": SURFACE, "mew": 0.8, "ms": 7}
    precisions = dict.fromkeys(precision for precision, _ in looks.lines)
    keys = [Line2D([], [], marker=MARKERS[one], color=COLOURS[one], label=one, **look) for one in precisions]
    if len(looks.settings) > 1:
        keys += [
            Line2D(
                [],
                [],
                color=MUTED,
                lw=1.6,
                ls=DASHES[place % len(DASHES)],
                label=setting(Configuration("", 1, None, one)),
            )
            for place, one in enumerate(looks.settings)
        ]
    if len(picked) > 1:
        keys.append(Line2D([], [], **RING | {"ms": 10}, label="best of all"))
    if any(one.bar for one in picked):
        keys.append(Line2D([], [], ls="none", marker="|", mew=1.6, ms=12, color=MUTED, label=GAP))
    if any(one.known.edge for one in picked):
        look = {"ls": "none", "marker": "o", "mfc": SURFACE, "mec": MUTED, "mew": 1.5, "ms": 7}
        keys.append(Line2D([], [], label="best rate at an edge", **look))
    return keys
