"""Say on a chart what stands behind it: the bases before training, runs that were not made alike, the rates shown."""

import pandas as pd

from frontier.results.figures.canvas import COLOURS, MUTED, Drawn, note

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
