"""Hold what every figure shares: colours, sizes, units, notes, legends, and how it becomes a file."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from frontier.results.contrasts import Losses
from frontier.results.figures.bests import Best, at_best, bests

matplotlib.use("agg")

# Okabe and Ito's palette, which is told apart with every common kind of colour blindness; bf16's blue is darker here.
COLOURS = {
    "fp32": "#333333",
    "bf16": "#3a9bd9",
    "fp16": "#0072b2",
    "nf4": "#d55e00",
    "fp4": "#cc79a7",
    "int8": "#009e73",
}
MARKERS = {"fp32": "s", "bf16": "^", "fp16": "o", "nf4": "D", "fp4": "v", "int8": "P"}
# The text, the text of less weight, the grid, the background, and whatever tells of a limit. A page draws each of these
# colours by its value, to draw it in a page's own, so that no two may be alike.
INK = "#1f2328"
MUTED = "#57606a"
GRID = "#d8dee4"
SURFACE = "#fffffe"
BUDGET = "#8a6d00"
METRICS = {"cuda_allocated": "Peak GPU memory allocated (GiB)", "host_rss": "Peak resident memory (GiB)"}
HELD = "Peak GPU memory held (GiB)"
LOWER_IS_BETTER = "Validation perplexity (lower is better)"
# A figure's width and height in inches: on a screen, there across the whole page, and on a telephone.
WIDE = (6.4, 4.4)
BROAD = (10.0, 4.4)
NARROW = (4.4, 4.4)
STYLE = {
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.solid_capstyle": "round",
    "svg.hashsalt": "lora-frontier",
    "svg.fonttype": "path",
}
# How much of a marker is filled tells devices apart, where a table has several.
FILLS = ("full", "none", "left", "bottom", "right", "top")


@dataclass(frozen=True)
class Drawn:
    """The results that figures are drawn from: the summary, each run's loss history by its name, and the budget.

    A budget has `memory_gib` and `hours`, each None where the user set none. `losses` has the runs' per-example losses;
    without them the figures have no paired intervals. `recommended` is the run that the findings recommend.
    """

    table: pd.DataFrame
    histories: dict[str, pd.DataFrame] = field(default_factory=dict)
    budget: dict = field(default_factory=dict)
    losses: Losses | None = None
    recommended: str | None = None

    @cached_property
    def bests(self) -> list[Best]:
        """Each arm that was measured, at the best of its learning rates."""
        return bests(self.table, self.losses)

    @cached_property
    def at_best(self) -> pd.DataFrame:
        """The summary's rows of each arm at its best rate, which are all rows where there is one rate."""
        return at_best(self.table, self.bests)

    @property
    def recommended_row(self) -> pd.Series | None:
        """The summary's row of the recommended run; None where there is none."""
        rows = self.table[self.table["run"] == self.recommended]
        return None if rows.empty else rows.iloc[0]

    @property
    def rates(self) -> list[float]:
        """The learning rates that were tried, ascending; empty for a table that does not tell them."""
        return sorted(self.table["learning_rate"].dropna().unique()) if "learning_rate" in self.table else []


def in_order(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return each precision of the table with its rows, in the palette's order."""
    return [(name, table[table["precision"] == name]) for name in COLOURS if (table["precision"] == name).any()]


def device_fills(table: pd.DataFrame) -> dict[str, str]:
    """Return each device of the table with the fill of its markers; nothing for a table of one device."""
    devices = sorted(table["device"].dropna().unique()) if "device" in table else []
    return {name: FILLS[index % len(FILLS)] for index, name in enumerate(devices)} if len(devices) > 1 else {}


def device_keys(table: pd.DataFrame) -> list[Line2D]:
    """Return a legend's entries for the devices, where there are several."""
    look: dict[str, Any] = {"ls": "none", "marker": "o", "color": MUTED, "markerfacecoloralt": SURFACE, "ms": 7}
    return [Line2D([], [], fillstyle=fill, label=name, **look) for name, fill in device_fills(table).items()]


def time_unit(seconds: pd.Series) -> tuple[float, str]:
    """Return the unit in which the longest of the times is easy to read: its seconds and its name."""
    longest = seconds.max()
    for divisor, name in ((3600, "hours"), (60, "minutes")):
        if longest >= 2 * divisor:
            return divisor, name
    return 1, "seconds"


def nothing(axes, text: str) -> None:
    """Say in the middle of empty axes why they are empty."""
    axes.text(0.5, 0.5, text, ha="center", va="center", color=MUTED, transform=axes.transAxes)
    axes.set_axis_off()


def log_if_wide(axis, values: pd.Series) -> None:
    """Make an axis logarithmic, with plain numbers on it, where its values span more than a factor of ten."""
    if values.min() > 0 and values.max() / values.min() > 10:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter())


def note(axes, text: str, colour: str = MUTED) -> None:
    """Add a line to the notes over the chart's right end."""
    above = axes.get_title(loc="right")
    axes.set_title(f"{above}\n{text}" if above else text, loc="right", fontsize=9, weight="normal", color=colour)


def legend(figure, handles: list, columns: int) -> None:
    """Put one legend above the axes, so that it never covers a point, in at most as many columns as are given.

    They become fewer where they are wider than the figure.
    """
    while handles:
        box = figure.legend(
            handles=handles, loc="outside upper left", ncols=columns, handletextpad=0.4, columnspacing=1.4,
            borderaxespad=0.2,
        )  # fmt: skip
        width = box.get_window_extent(figure.canvas.get_renderer()).width
        # A page draws its texts in a font of its own, which may be wider.
        if columns == 1 or width < 0.92 * figure.bbox.width:
            return
        box.remove()
        columns -= 1


def canvas(size: tuple[float, float], panels: int = 1):
    """Return a figure of `size` inches and its panels side by side, which share the vertical axis."""
    return plt.subplots(1, panels, figsize=size, layout="constrained", sharey=True)


def save_each(paths: Iterable[str], draw: Callable[[str], plt.Figure]) -> None:
    """Write `draw(name)` to each of the paths, as PNG or SVG by its ending; `name` is the path's, less the ending."""
    with plt.rc_context(STYLE):
        for path in map(Path, paths):
            figure = draw(path.stem)
            # Without a date, so that the same figure is the same file.
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(path, dpi=200, metadata=metadata)
            plt.close(figure)
