"""Answer, for a group of runs, which configuration is the best within the limits, and what comes nearest if none is."""

import math

import pandas as pd

from frontier.results.claims.claim import NOT_MEASURED, Evidence, listing
from frontier.results.claims.limits import LIMITS, limits_of, said
from frontier.results.claims.recommendation import recommend
from frontier.results.configurations import rows_by_configuration
from frontier.results.merged import intervals
from frontier.results.merged.groups import Group
from frontier.results.recommended import key_figures


def evidence_of(group: Group, budget: dict, limits: dict) -> Evidence:
    """Return a group's results as the claims take them; `limits` are the recommendation's own."""
    return Evidence(group.table, intervals.NO_LOSSES if group.losses is None else group.losses, budget, limits)


def answer(group: Group, results: Evidence) -> dict:
    """Return what to use of a group: `choice` with its `facts`, both empty where nothing fits, `sentence` and `rests`.

    `rests` says what the choice rests on.
    """
    paired = group.losses is not None
    one = recommend(results, results.tuned) if paired else intervals.recommend(results)
    values, sentence = one["evidence"]["values"], one["sentence"]
    rows = group.table[group.table["run"] == values.get("run")]
    limits, choice = limits_of(results), None
    if len(rows):
        choice = title_of(rows)
    elif "precision" in values or "run" in values:
        choice = "The untrained model"
    elif one["verdict"] != NOT_MEASURED:
        sentence = f"{sentence} {nearest(group, limits)}"
    nothing = "Nothing to compare" if one["verdict"] == NOT_MEASURED else "Nothing fits"
    return {
        "choice": choice,
        "heading": choice or nothing,
        "verdict": one["verdict"],
        "sentence": sentence,
        "facts": _facts(rows.iloc[0]) if len(rows) else [],
        "rests": rests_on(group, results),
        "limits": said(limits),
    }


def _facts(row: pd.Series) -> list[dict]:
    """Return a run's figures as a report has them, its memory as limits count it."""
    *others, peak = key_figures(row)
    held = {"name": "memory on the card", "value": f"{row['held_gib']:.2f}", "unit": "GiB"}
    return [*others, held | {"more": f"{peak['value']} GiB by the memory metric"}]


def title_of(rows: pd.DataFrame) -> str:
    """Return the name of the configuration that rows are of."""
    (title,) = (one.title() for one in rows_by_configuration(rows))
    return title


def nearest(group: Group, limits: dict) -> str:
    """Return which configuration breaks the limits by the least, and by what, in words.

    By how much is told by the limit that it breaks by the most, as a share of that limit.
    """
    found = []
    for one, rows in rows_by_configuration(group.table).items():
        shares = [_share(rows, key, limit) for key, limit in limits.items() if limit is not None]
        if (rows["status"] == "ok").all() and shares and not any(map(math.isnan, shares)):
            # Rates cost the same but for the clock, so that of those that are as near the best is named.
            found.append((round(max(shares), 3), rows["eval_loss"].mean(), one, rows))
    if not found:
        return "Each configuration has a run that did not end ok, or that was not measured."
    _, _, one, rows = min(found, key=lambda each: each[:2])
    given = {key: limit for key, limit in limits.items() if limit is not None}
    broken = listing(_over(rows, key, limit) for key, limit in given.items() if _share(rows, key, limit) > 1)
    wanted = listing(_needs(rows, key) for key in given)
    return f"Nearest comes {one.title()}: it {broken}. It would fit within {wanted}."


def _value(rows: pd.DataFrame, key: str) -> float:
    """Return what a limit is held against, of a configuration's runs, in the limit's unit."""
    column, unit, _ = LIMITS[key]
    return (rows[column].mean() if key == "max_perplexity" else rows[column].max()) / unit


def _share(rows: pd.DataFrame, key: str, limit: float) -> float:
    """Return how much of a limit a configuration's runs take, above 1 where they break it."""
    return _value(rows, key) / limit


def _over(rows: pd.DataFrame, key: str, limit: float) -> str:
    """Return what a configuration's runs take of a limit that they break, and by how much they do, in words."""
    share, form = _share(rows, key, limit), LIMITS[key][2]
    over = (
        f"{max(100 * (share - 1), 0.1):.{0 if share > 1.1 else 1}f}% over"
        if share < 3
        else f"{share:.3g} times as much"
    )
    return f"{form.format(_value(rows, key))} ({over})"


def _needs(rows: pd.DataFrame, key: str) -> str:
    """Return the limit that a configuration's runs would keep, in words, rounded up."""
    form, digits = {
        "memory_gib": ("{:.2f} GiB", 2),
        "hours": ("{:.3f} hours", 3),
        "max_perplexity": ("a perplexity of {:.3f}", 3),
    }[key]
    return form.format(math.ceil(_value(rows, key) * 10**digits) / 10**digits)


def rests_on(group: Group, results: Evidence) -> str:
    """Return what a group's answer rests on, in words."""
    rows = group.measured
    seeds = rows_by_configuration(rows)
    least, most = (pick(len(some) for some in seeds.values()) for pick in (min, max))
    each = f"{least} to {most}" if least != most else str(least)
    how = (
        f"the losses of {len(results.losses.tokens)} examples, paired" if group.losses is not None else "own intervals"
    )
    runs = f"{len(rows)} runs of {len(seeds)} configurations, {each} {'seed' if most == 1 else 'seeds'} each"
    return f"{runs}, on {listing(group.cards) or 'a card that is not told'}; compared by {how}."
