"""The plan drawn: what each run needs, part on part, against what there is."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from frontier.results.figures.canvas import BUDGET, INK, STYLE, SURFACE, canvas, legend, note, nothing

# Okabe and Ito's palette again, from what stays to what comes and goes.
PARTS = {
    "weights_gib": ("weights", "#0072B2"),
    "adapter_gib": ("adapter", "#56B4E9"),
    "optimizer_gib": ("optimiser", "#009E73"),
    "gradients_gib": ("gradients", "#F0E442"),
    "activations_gib": ("activations", "#E69F00"),
    "logits_gib": ("logits", "#D55E00"),
    "overhead_gib": ("context, kernels, graphs", "#999999"),
}
# A limit further off than this many of the longest bar would crush the bars.
_REACH = 2.5


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
        mark = "" if fits in (True, "True") or pd.isna(fits) else ", does not fit"
        # Beyond the limit's line where the bar ends just before it, so that the line does not cross the number.
        near = limit is not None and 0 <= limit - total < 0.2 * left.max()
        start = (limit if near else total, place)
        look = {"va": "center", "color": INK, "bbox": {"fc": SURFACE, "ec": "none", "pad": 1}}
        axes.annotate(f"{total:.1f}{mark}", start, (6, 0), textcoords="offset points", **look)
    axes.set_xlim(0, 1.3 * left.max())
    axes.set_xlabel("Memory at the worst moment (GiB)")
    if limit and limit <= _REACH * left.max():
        axes.set_xlim(0, 1.3 * max(left.max(), limit))
        handles.append(axes.axvline(limit, color=BUDGET, lw=1.4, ls=(0, (5, 3)), label=text))
    elif limit:
        note(axes, f"{text}: {limit:g} GiB, right of this chart", BUDGET)
    legend(figure, handles, columns=4)
    return figure


def draw_plan(job: dict) -> None:
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
