"""Say which way is recommended for which use of an adapter. docs/shipping.md has the rule."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from frontier import ways
from frontier.results.claims.claim import NEGLIGIBLE_LOSS, percent

# Uses of an adapter, each with what a user does; the way recommended for each is the best of its own.
ADAPTER, MERGED, LLAMA_CPP = "adapter", "merged model", "llama.cpp"
_DONE = {ADAPTER: "load the adapter", MERGED: "ship one merged model", LLAMA_CPP: "serve with llama.cpp"}


def use_of(name: str) -> str:
    """Return the use that a way serves."""
    way = ways.way_of(name)
    if way.is_gguf:
        return LLAMA_CPP
    return MERGED if way.merge else ADAPTER


def marked(rows: list[dict]) -> list[dict]:
    """Return a run's rows with the use that each is recommended for, if any, as `recommended_for`.

    For an adapter and a merged model it is the way with the lowest loss. For llama.cpp it is the smallest file among
    those whose loss is not 2% of perplexity above that of the best, since a file is quantised to be small.
    """
    measured = [row for row in rows if row["status"] == "ok" and row.get("eval_loss") is not None]
    best: dict[str, dict] = {}
    for use in _DONE:
        own = [row for row in measured if use_of(row["way"]) == use]
        if not own:
            continue
        lowest = min(own, key=lambda row: row["eval_loss"])
        if use == LLAMA_CPP:
            files = [row for row in own if row["way"] != ways.OVER_GGUF] or own
            near = [row for row in files if row["eval_loss"] < lowest["eval_loss"] + NEGLIGIBLE_LOSS] or [lowest]
            lowest = min(near, key=lambda row: row["size_mib"])
        best[use] = lowest
    return [row | {"recommended_for": next((use for use, one in best.items() if one is row), None)} for row in rows]


def lines(table: pd.DataFrame) -> list[str]:
    """Return the recommended ways of a run's rows in words, and what the worst of the others costs."""
    rows = table.to_dict("records")
    said = []
    for use, done in _DONE.items():
        for row in rows:
            if row["recommended_for"] == use:
                said.append(f"to {done}: {row['what']}, {cost_in_words(row)}")
    worst = table.dropna(subset=["against_as_trained"]).sort_values("against_as_trained").tail(1)
    for row in worst.to_dict("records"):
        if row["told"] == "worse":
            said.append(f"to be avoided most: {row['what']}, {cost_in_words(row)}")
    return said


def cost_in_words(row: Mapping[str, Any]) -> str:
    """Return what a way costs against as trained, in percent of perplexity, with its interval."""
    if row["way"] == ways.AS_TRAINED:
        return "as trained"
    middle, low, high = (percent(row[key]) for key in ("against_as_trained", "against_low", "against_high"))
    ends = "" if math.isnan(low) else f"{low:+.1f}% to {high:+.1f}%; "
    return f"{middle:+.1f}% in perplexity against as trained ({ends}{row['basis']})"
