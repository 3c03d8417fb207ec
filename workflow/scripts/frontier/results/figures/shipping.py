"""Draw what each way of using an adapter costs against the run as it was trained."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from frontier.results.claims.claim import percent
from frontier.results.figures.canvas import COLOURS, INK, MUTED, canvas, note, nothing, save_each

# A way's colour by how it is stored.
_GGUF, _NF4, _SIXTEEN = COLOURS["int8"], COLOURS["nf4"], COLOURS["fp16"]
_COLUMNS = ["against_as_trained", "against_low", "against_high"]


def figure_of(table: pd.DataFrame, size: tuple[float, float] | None = None) -> plt.Figure:
    """Return the figure: for each way its perplexity against as trained, in percent, with the 95% interval."""
    rows = table.dropna(subset=_COLUMNS[:1]).iloc[::-1]
    figure, axes = canvas(size or (8, 1.4 + 0.36 * max(len(rows), 3)))
    if rows.empty:
        nothing(axes, "no way was measured")
        return figure
    several = rows["run"].nunique() > 1
    names = [f"{row['run']} {row['way']}" if several else row["way"] for _, row in rows.iterrows()]
    axes.axvline(0, color=MUTED, lw=1.2, ls=(0, (2, 2)))
    for place, (_, row) in enumerate(rows.iterrows()):
        middle, low, high = (percent(row[name]) for name in _COLUMNS)
        colour = _GGUF if pd.notna(row["bits_a_weight"]) else _NF4 if row["way"].endswith("nf4") else _SIXTEEN
        # A run that was judged on one example has no interval.
        axes.plot([low, high], [place, place], color=colour, lw=2)
        axes.plot([middle], [place], marker="o", ms=6, color=colour)
        end, beside = (max(np.nan_to_num(high), middle, 0), place), {"textcoords": "offset points", "va": "center"}
        axes.annotate(f"{middle:+.1f}%", end, (6, 0), color=INK, **beside)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.margins(x=0.18)
    axes.set_xlabel("Perplexity against as trained (%)")
    note(axes, "left of the dotted line is better")
    return figure


def draw_shipping(job: dict) -> None:
    """Draw results/shipping.csv as PNG and as SVG."""
    table = pd.read_csv(job["input"]["table"])
    save_each(job["output"].values(), lambda _: figure_of(table))
