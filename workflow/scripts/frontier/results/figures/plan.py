"""Draw the plan: what each run needs, part on part, against what there is."""

import matplotlib.pyplot as plt
import pandas as pd

from frontier.results.figures.canvas import BUDGET, INK, SURFACE, canvas, legend, note, nothing, save_each

# Columns of results/plan.csv, from what stays to what comes and goes, in Okabe and Ito's palette.
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
    """Return the figure: each configuration as a bar of its parts, the limit as a line; runs that do not fit say so.

    `limit` is in GiB; `text` names it.
    """
    planned = _a_seed_each(table.dropna(subset=["predicted_peak_gib"])).iloc[::-1]
    figure, axes = canvas((8, 1.6 + 0.42 * max(len(planned), 2)))
    if planned.empty:
        nothing(axes, "no run could be planned")
        return figure
    ends = pd.Series(0.0, index=planned.index)
    handles = []
    for column, (name, colour) in PARTS.items():
        handles.append(axes.barh(planned["run"], planned[column], left=ends, color=colour, height=0.7, label=name))
        ends += planned[column]
    _name_totals(axes, ends, planned["fits"], limit)
    axes.set_xlim(0, 1.3 * ends.max())
    axes.set_xlabel("Memory at the worst moment (GiB)")
    if limit and limit <= _REACH * ends.max():
        axes.set_xlim(0, 1.3 * max(ends.max(), limit))
        handles.append(axes.axvline(limit, color=BUDGET, lw=1.4, ls=(0, (5, 3)), label=text))
    elif limit:
        note(axes, f"{text}: {limit:g} GiB, right of this chart", BUDGET)
    legend(figure, handles, columns=4)
    return figure


def _a_seed_each(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each configuration, named so: of its seeds the one that needs most."""
    names = table["run"].str.replace(r"-s\d+(?=-|$)", "", n=1, regex=True)
    rows = table.assign(run=names).sort_values("predicted_peak_gib", ascending=False, kind="stable")
    return rows.drop_duplicates("run").sort_index()


def _name_totals(axes, ends: pd.Series, fits: pd.Series, limit: float | None) -> None:
    """Write each bar's total beside its end."""
    for place, (total, fit) in enumerate(zip(ends, fits, strict=True)):
        mark = "" if fit in (True, "True") or pd.isna(fit) else ", does not fit"
        # Where a bar ends just before the limit's line, its number stands beyond the line, which would cross it else.
        near = limit is not None and 0 <= limit - total < 0.2 * ends.max()
        start = (limit if near else total, place)
        look = {"va": "center", "color": INK, "bbox": {"fc": SURFACE, "ec": "none", "pad": 1}}
        axes.annotate(f"{total:.1f}{mark}", start, (6, 0), textcoords="offset points", **look)


def draw_plan(job: dict) -> None:
    """Draw results/plan.csv as PNG and as SVG."""
    request, table = job["request"], pd.read_csv(job["input"]["plan"])
    limit = request["limit_gib"]
    text = "budget" if request["is_budget"] else "card"
    save_each(job["output"].values(), lambda _: plan(table, limit, text))
