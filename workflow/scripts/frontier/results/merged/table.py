"""Tell of each configuration of a group what it costs, what it comes to, and how it stands, as a table of a page."""

import math

import pandas as pd

from frontier import axes
from frontier.results import columns
from frontier.results.claims.claim import Evidence
from frontier.results.claims.limits import excess, limits_of
from frontier.results.columns import Column
from frontier.results.configurations import Configuration, rows_by_configuration
from frontier.results.contrasts import contrast
from frontier.results.merged.groups import Group
from frontier.results.merged.intervals import level_of

# The columns beside those of the summary, and those that read otherwise here.
_OWN = {
    "precision": Column("Precision", "", "How the frozen base model is stored while the adapter trains.", shown=True),
    "device": Column("Card", "", "The device that it was trained on.", shown=True),
    "held_gib": Column("Memory", "GiB", "All that a run had on its card; limits are for that.", ".2f", True),
    "hours": Column("Time", "hours", "Wall clock of the optimiser steps alone, the mean of its seeds.", ".3g", True),
    "perplexity": Column("Perplexity", "", "Of the mean loss over seeds; lower is better.", ".3f", True),
    "perplexity_low": Column("Low", "95%", "Lower end of its interval.", ".3f", True),
    "perplexity_high": Column("High", "95%", "Upper end of its interval.", ".3f", True),
    "within": Column("Within the limits", "", "Yes, or what breaks them.", shown=True),
    "standing": Column("Frontier", "", "On its card's frontier, or by what it is beaten there.", shown=True),
    "folder": Column("Study", "", "The folder that its runs are from.", shown=True),
    "seeds": Column("Seeds", "", "Runs that differ in their seed alone.", "d", True),
    "status": Column("Status", "", "How its runs ended.", shown=True),
    "rests": Column("Interval allows for", "", "Other examples alone (this seed only), or other seeds too."),
}  # fmt: skip


def table_of(group: Group, results: Evidence) -> pd.DataFrame:
    """Return a row for each configuration of a group, the best by perplexity first."""
    limits = limits_of(results)
    rows = [_row(one, some, results, limits) for one, some in rows_by_configuration(group.table).items()]
    table = pd.DataFrame(rows).sort_values("perplexity", ignore_index=True)
    order = ["precision", "rank", *axes.TAGS, *_OWN]
    kept = [name for name in dict.fromkeys(order) if name in table]
    # What is the same everywhere tells nothing, but for what a configuration is.
    alike = [name for name in ("device", "folder", "status") if table[name].nunique() < 2]
    return table[[name for name in kept if name not in alike]]


def cells_of(table: pd.DataFrame) -> list[dict]:
    """Return the table's columns as a page shows them."""
    return columns.cells(table, columns.COLUMNS | _OWN)


def _row(one: Configuration, rows: pd.DataFrame, results: Evidence, limits: dict) -> dict:
    """Return a configuration's row."""
    first = rows.iloc[0]
    own = {name: first[name] for name in axes.TAGS if name in rows}
    ok = rows[rows["status"] == "ok"]
    standing = "–" if pd.isna(first["pareto"]) else "on it" if first["pareto"] else f"beaten by {first['beaten_by']}"
    return {
        "precision": one.precision,
        "rank": one.rank,
        **own,
        "device": first["device"],
        "folder": ", ".join(dict.fromkeys(rows["folder"])),
        "seeds": len(rows),
        "held_gib": rows["held_gib"].max(),
        "hours": rows["train_seconds"].mean() / 3600,
        **_quality(one, ok, results),
        "within": excess(rows, limits) or "yes",
        "standing": standing,
        "status": ", ".join(dict.fromkeys(rows["status"])),
    }


def _quality(one: Configuration, ok: pd.DataFrame, results: Evidence) -> dict:
    """Return a configuration's perplexity with its interval: of its examples' losses, else of the summary."""
    if ok.empty:
        return dict.fromkeys(("perplexity", "perplexity_low", "perplexity_high", "rests"))
    interval = contrast(results.losses, {one: 1}) if one in results.losses.columns else None
    if interval is None:
        level = level_of(ok)
        ends, estimate, rests = [level.low, level.high], level.estimate, "this seed only"
    else:
        ends = [math.exp(min(end, 700)) if math.isfinite(end) else math.inf for end in (interval.low, interval.high)]
        estimate, rests = math.exp(min(interval.estimate, 700)), interval.basis
    low, high = (end if math.isfinite(end) else None for end in ends)
    return {"perplexity": estimate, "perplexity_low": low, "perplexity_high": high, "rests": rests}
