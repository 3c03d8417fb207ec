"""The plan drawn: what each run needs, part on part, against what there is."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from frontier.canvas import INK, STYLE, canvas, draw_limit, legend, nothing

# Okabe and Ito's palette again, from what stays to what comes and goes.
PARTS = {
    "weights_gib": ("weights", "#0072B2"),
    "adapter_gib": ("adapter", "#56B4E9"),
    "optimizer_gib": ("optimiser", "#009E73"),
    "gradients_gib": ("gradients", "#F0E442"),
    "activations_gib": ("activations", "#E69F00"),
    "logits_gib": ("logits", "#D55E00"),
    "overhead_gib": ("context and unused blocks", "#999999"),
}


def plan(table: pd.DataFrame, limit: float | None, text: str) -> plt.Figure:
    """Each run as a bar of its parts, with the limit as a line; runs that do not fit say so."""
    planned = table.dropna(subset=["predicted_peak_gib"]).iloc[::-1]
    figure, axes = canvas((8, 1.6 + 0.42 * max(len(planned), 2)))
    if planned.empty:
        nothing(axes, "no run could be planned")
        return figure
    left = pd.Series(0.0, index=planned.index)
    handles = []
    for column, (name, colour) in PARTS.items():
        handles.append(axes.barh(planned["run"], planned[column], left=left, color=colour, height=0.7, label=name))
        left += planned[column]
    for place, (total, fits) in enumerate(zip(left, planned["fits"], strict=True)):
        mark = "" if fits in (True, "True") or pd.isna(fits) else " does not fit"
        axes.annotate(f"{total:.1f}{mark}", (total, place), (4, 0), textcoords="offset points", va="center", color=INK)
    axes.set_xlim(0, 1.25 * left.max())
    axes.set_xlabel("Memory at the worst moment (GiB)")
    draw_limit(axes.xaxis, limit, text)
    legend(figure, handles, columns=4)
    return figure


def run(job: dict) -> None:
    """Draw results/plan.csv as PNG and as SVG."""
    request = job["request"]
    limit = request["limit_gib"]
    table = pd.read_csv(job["input"]["plan"])
    with plt.rc_context(STYLE):
        for path in map(Path, job["output"].values()):
            figure = plan(table, limit, "budget" if request["is_budget"] else "card")
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(path, dpi=200, metadata=metadata)
            plt.close(figure)
