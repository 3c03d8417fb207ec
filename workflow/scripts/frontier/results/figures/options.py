"""Draw what fits a card: what each model needs at the least, by its size and precision, against cards' memory."""

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

from frontier import records
from frontier.results.figures.canvas import (
    BUDGET,
    COLOURS,
    GRID,
    INK,
    MARKERS,
    MUTED,
    canvas,
    legend,
    save_each,
)

_WIDTH = 8.0
# Inches of a model's line.
_LINE = 0.23


def options(asked: dict) -> plt.Figure:
    """Return the figure: a line a model, with a mark for each precision, filled where it fits the largest memory."""
    models = [*reversed(asked["models"])]
    sizes = sorted({place["memory_gib"] for place in asked["places"]})
    figure, axes = canvas((_WIDTH, 1.5 + _LINE * len(models)))
    precisions = [name for name in COLOURS if any(name in model["least_gib"] for model in models)]
    for row, model in enumerate(models):
        needs = model["least_gib"]
        axes.plot([*needs.values()], [row] * len(needs), color=GRID, lw=1.5, zorder=1)
        for name, need in needs.items():
            look = {"marker": MARKERS[name], "color": COLOURS[name], "ms": 6.5, "ls": "none", "zorder": 2}
            axes.plot(need, row, fillstyle="full" if need <= sizes[-1] else "none", **look)
    for size in sizes:
        axes.axvline(size, color=BUDGET, lw=1.2, ls=(0, (5, 3)), zorder=0)
        axes.annotate(f"{size:g}", (size, 1), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
                      ha="center", color=BUDGET, fontsize=9)  # fmt: skip
    axes.set_yticks(range(len(models)), [f"{model['name']} ({model['billions']:.1f}B)" for model in models])
    axes.tick_params(axis="y", length=0, labelsize=9, labelcolor=INK)
    axes.set(xscale="log", ylim=(-0.7, len(models) - 0.3), xlabel=f"Memory (GiB) with {asked['smallest']}")
    ticks = [size for size in (1, 2, 4, 8, 16, 32, 64, 128) if axes.get_xlim()[0] <= size <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(axis="y", visible=False)
    handles = [
        Line2D([], [], ls="none", marker=MARKERS[name], color=COLOURS[name], ms=7, label=name) for name in precisions
    ]
    handles.append(Line2D([], [], color=BUDGET, lw=1.2, ls=(0, (5, 3)), label=_named(asked["places"])))
    out = "does not fit" if len(sizes) == 1 else "fits none"
    handles.append(Line2D([], [], ls="none", marker="o", fillstyle="none", color=MUTED, ms=7, label=out))
    legend(figure, handles, columns=4)

    return figure


def _named(places: list[dict]) -> str:
    return f"{places[0]['name']}" if len(places) == 1 else "cards, GB"


def draw_options(job: dict) -> None:
    """Draw results/options.json as PNG and as SVG."""
    asked = records.read_json(job["input"]["least"])
    save_each(job["output"].values(), lambda _: options(asked))
