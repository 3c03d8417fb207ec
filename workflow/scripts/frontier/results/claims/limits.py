"""Hold a configuration's runs against the limits of a recommendation, and tell the limits in words."""

import math

import pandas as pd

from frontier.results.claims.claim import SPREAD_GIB, Evidence, listing
from frontier.results.configurations import Configuration
from frontier.results.contrasts import Losses, contrast

# Each limit with the summary's column that it is held against, how many of the column's unit make one of the limit's,
# and how a sentence tells a value that breaks it.
LIMITS = {
    "memory_gib": ("held_gib", 1, "takes {:.2f} GiB"),
    "hours": ("train_seconds", 3600, "takes {:.2f} hours"),
    "max_perplexity": ("perplexity", 1, "has a perplexity of {:.3f}"),
}


def limits_of(results: Evidence) -> dict:
    """Return the limits of a recommendation, its own where they are set, else the budget's; None where neither is."""
    limits = {key: results.recommend[key] for key in LIMITS}
    return {key: results.budget.get(key) if value is None else value for key, value in limits.items()}


def excess(rows: pd.DataFrame, limits: dict) -> str | None:
    """Return what of a configuration's runs breaks a limit, in words; None where nothing does."""
    if (rows["status"] != "ok").any():
        row = rows[rows["status"] != "ok"].iloc[0]
        return f"has a run that ended {row['status']}"
    for key, (column, unit, form) in LIMITS.items():
        if limits[key] is None:
            continue
        if rows[column].isna().any():
            return f"has a run whose {column} was not measured"
        value = rows[column].mean() if key == "max_perplexity" else rows[column].max()
        if value / unit > limits[key]:
            return form.format(value / unit)
    return None


def near_limit(losses: Losses, one: Configuration, rows: pd.DataFrame, limits: dict) -> str | None:
    """Return which limit the uncertainty of a measurement reaches past, in words; None where it reaches none."""
    peak, memory = rows["held_gib"].max(), limits["memory_gib"]
    if memory is not None and peak + SPREAD_GIB.get(rows["memory_metric"].iloc[0], 0) > memory:
        return f"its {peak:.2f} GiB are nearer to the limit of {memory:g} GiB than repeats are to each other"
    if limits["max_perplexity"] is not None:
        interval = contrast(losses, {one: 1})
        if interval.high > math.log(limits["max_perplexity"]):
            high = f"up to {math.exp(interval.high):.3f}" if math.isfinite(interval.high) else "no interval is known"
            return f"its perplexity may be above the limit of {limits['max_perplexity']:g}: {high}"
    return None


def said(limits: dict) -> str:
    """Return the limits that are set, in words."""
    words = {"memory_gib": "{:g} GiB", "hours": "{:g} hours of training", "max_perplexity": "a perplexity of {:g}"}
    given = [words[key].format(value) for key, value in limits.items() if value is not None]
    return listing(given) if given else "no limit, as none is set"
