"""Say on a chart what stands behind it: the bases before training, runs that were not made alike, the rates shown."""

import pandas as pd

from frontier.results.figures.canvas import COLOURS, MUTED, Drawn, note
from frontier.results.frontier import within_noise

# Bases' lines that would stretch the vertical axis by more than this factor become a note.
_MOST_STRETCH = 2.5


def draw_bases(axes, bases: pd.Series) -> list[tuple]:
    """Draw each base's own perplexity as a dashed line, or as a note where the lines would flatten what rank does.

    `bases` has it by precision. Returns the lines' labels as `label_ends` takes them.
    """
    bases = bases.dropna()
    low, high = axes.get_ylim()
    if bases.empty:
        return []
    if max(high, bases.max()) - min(low, bases.min()) > _MOST_STRETCH * (high - low):
        listed = ", ".join(f"{precision} {base:.2f}" for precision, base in bases.items())
        note(axes, f"before training: {listed}")
        return []
    for precision, base in bases.items():
        axes.axhline(base, color=COLOURS[precision], ls=(0, (4, 3)), lw=1.2)
    return [(base, f"{precision} untrained", MUTED) for precision, base in bases.items()]


def warn_of_unlike(axes, table: pd.DataFrame) -> None:
    """Say on the chart itself that its runs were not made alike."""
    if "notes" in table and table["notes"].notna().any():
        count = table["notes"].notna().sum()
        note(axes, f"{count} of {len(table)} runs on another machine or other versions (notes)", COLOURS["nf4"])


def tell_rates(axes, results: Drawn) -> None:
    """Say that the chart has each arm at its best rate alone, where several were tried."""
    if len(results.rates) > 1:
        note(axes, "each at its best learning rate")


def tell_noise(axes, table: pd.DataFrame, columns: dict[str, str]) -> list[str]:
    """Say of which costs no difference is beyond noise, and return these; `columns` has each one's column by its word.

    A reader would take distance on the chart for a difference otherwise.
    """
    found = [word for word, column in columns.items() if within_noise(table, column)]
    if found:
        note(axes, f"{' and '.join(found)}: no two differ by more than repeats do")
    return found


def from_zero(axis, is_noise: bool) -> None:
    """Make an axis start at zero where its differences are noise, so that it does not enlarge them."""
    if is_noise:
        axis.set_view_interval(0, 1.08 * axis.get_view_interval()[1], ignore=True)
