"""Recommend a run inside the limits, and say why that one: claim 13. docs/findings.md has the claim's rule."""

import math
from dataclasses import asdict, replace

import pandas as pd

from frontier.results.claims.claim import (
    CONTRADICTED,
    INCONCLUSIVE,
    SPREAD_GIB,
    SUPPORTED,
    Evidence,
    best_of,
    claim,
    listing,
    not_measured,
    percent_record,
    percents,
)
from frontier.results.configurations import Configuration, configurations_of, rows_of
from frontier.results.contrasts import contrast
from frontier.results.derived import held_gib

_NAME = "recommendation"
# Each limit with the summary's column that it is held against, how many of the column's unit make one of the limit's,
# and how a sentence tells a value that breaks it.
_LIMITS = {
    "memory_gib": ("held_gib", 1, "takes {:.2f} GiB"),
    "hours": ("train_seconds", 3600, "takes {:.2f} hours"),
    "max_perplexity": ("perplexity", 1, "has a perplexity of {:.3f}"),
}


def recommendation(results: Evidence) -> dict:
    """Judge whether a run fits all limits: of the configurations within one standard error of the best, the cheapest.

    Cheapest is least memory, a difference within the repeats' spread not counted, then lowest rank. A limit that the
    run's own uncertainty reaches makes the verdict inconclusive. Of several devices the one with the most runs counts,
    or where none of those fits the next: memory and time are compared within a device alone.
    """
    places = by_device(results)
    judged = zip(places, map(recommend, places), strict=True)
    fitting = next((pair for pair in judged if pair[1]["verdict"] in (SUPPORTED, INCONCLUSIVE)), None)
    if fitting is None:
        return recommend(results)
    here, one = _measured(fitting[0].summary), fitting[1]
    left_aside = len(_measured(results.summary)) - len(here)
    if left_aside:
        device = here["device"].iloc[0]
        one["sentence"] += f" Memory and time are those of {device} alone; left aside: {left_aside} measured elsewhere."
    return one


def by_device(results: Evidence) -> list[Evidence]:
    """Return the results of each device and memory metric apart, those of the most measured runs first.

    A run that did not end ok counts where it ran, and everywhere if nothing tells where.
    """
    summary, parts = results.summary, []
    for (device, metric), rows in _measured(summary).groupby(["device", "memory_metric"]):
        here = (summary["device"] == device) & (summary["memory_metric"] == metric)
        failed = (summary["status"] != "ok") & (summary["device"].isna() | (summary["device"] == device))
        parts.append((len(rows), replace(results, summary=summary[here | failed])))
    return [part for _, part in sorted(parts, key=lambda one: -one[0])]


def recommend(results: Evidence) -> dict:
    """Return the recommendation of one device's runs."""
    results = replace(results, summary=results.summary.assign(held_gib=held_gib(results.summary)))
    limits = {key: results.recommend[key] for key in _LIMITS}
    limits = {key: results.budget.get(key) if value is None else value for key, value in limits.items()}
    rows = _measured(results.summary)
    measured = [one for one in sorted(set(configurations_of(rows))) if one in results.losses.columns]
    if not measured:
        return not_measured(_NAME, "no run that ended ok has its perplexity, memory and time measured")
    allowed = [one for one in measured if _excess(rows_of(results.summary, one), limits) is None]
    if not allowed:
        nearest = best_of(results, measured)
        reason = _excess(rows_of(results.summary, nearest), limits)
        sentence = f"No run keeps the limits, {_said(limits)}; the best by perplexity, {nearest.title()}, {reason}."
        return claim(_NAME, CONTRADICTED, sentence, rows["run"], {"limits": limits})
    return _use(results, rows, allowed, limits)


def _use(results: Evidence, rows: pd.DataFrame, allowed: list[Configuration], limits: dict) -> dict:
    """Return the claim that names the cheapest of the configurations that keep the limits, and the runner-up."""
    chosen = choose(results, rows, allowed)
    others = [one for one in allowed if one != chosen]
    row = _best_row(rows, chosen)
    best = best_of(results, allowed)
    gap = None if chosen == best else contrast(results.losses, {chosen: 1, best: -1})
    sentence = f"Use {row['run']}: {_costs(row)}. Limits: {_said(limits)}. {_why(rows, chosen, best, gap)}."
    values = {"run": row["run"], **asdict(chosen), "limits": limits, "runner_up": None}
    runs = results.runs(chosen)
    if others:
        second = choose(results, rows, others)
        follower = _best_row(rows, second)
        gap = contrast(results.losses, {second: 1, chosen: -1})
        values["runner_up"] = follower["run"]
        against = f", perplexity {percents(gap)} against it" if gap else ""
        sentence += f" Runner-up: {follower['run']} ({_costs(follower)}{against})."
        runs += results.runs(second)
    close = _near_limit(results, chosen, rows_of(rows, chosen), limits)
    if close:
        sentence += f" But {close}."
    verdict = INCONCLUSIVE if close else SUPPORTED
    return claim(_NAME, verdict, sentence, runs, values, percent_record(gap) if gap else None)


def choose(results: Evidence, rows: pd.DataFrame, configurations: list[Configuration]) -> Configuration:
    """Return the cheapest of the configurations within one standard error of the best, by paired differences."""
    best = best_of(results, configurations)
    level = []
    for one in configurations:
        behind = contrast(results.losses, {one: 1, best: -1})
        if one == best or (behind is not None and behind.estimate <= behind.standard_error < math.inf):
            level.append(one)
    memory = {one: rows_of(rows, one)["peak_memory_gib"].max() for one in level}
    metric = rows["memory_metric"].iloc[0]
    least = min(memory.values()) + SPREAD_GIB.get(metric, 0)
    return min((one for one in level if memory[one] <= least), key=lambda one: (one.rank, memory[one], one))


def _why(rows: pd.DataFrame, chosen: Configuration, best: Configuration, gap) -> str:
    """Return why the chosen configuration and not the best one, in words; `gap` is how far it is behind."""
    if chosen == best:
        return "No run that fits has a lower perplexity"
    saving = _saving(rows_of(rows, chosen), rows_of(rows, best))
    start = f"Of all that fit, {best.title()} has the lowest perplexity"
    return f"{start}; this is within one standard error of it, {percents(gap)}, with {saving}"


def _excess(rows: pd.DataFrame, limits: dict) -> str | None:
    """Return what of a configuration's runs breaks a limit, in words; None where nothing does."""
    if (rows["status"] != "ok").any():
        row = rows[rows["status"] != "ok"].iloc[0]
        return f"has a run that ended {row['status']}"
    for key, (column, unit, form) in _LIMITS.items():
        if limits[key] is None:
            continue
        if rows[column].isna().any():
            return f"has a run whose {column} was not measured"
        value = rows[column].mean() if key == "max_perplexity" else rows[column].max()
        if value / unit > limits[key]:
            return form.format(value / unit)
    return None


def _near_limit(results: Evidence, configuration: Configuration, rows: pd.DataFrame, limits: dict) -> str | None:
    """Return which limit the uncertainty of a measurement reaches past, in words; None where it reaches none."""
    peak, memory = rows["held_gib"].max(), limits["memory_gib"]
    if memory is not None and peak + SPREAD_GIB.get(rows["memory_metric"].iloc[0], 0) > memory:
        return f"its {peak:.2f} GiB are nearer to the limit of {memory:g} GiB than repeats are to each other"
    if limits["max_perplexity"] is not None:
        interval = contrast(results.losses, {configuration: 1})
        if interval.high > math.log(limits["max_perplexity"]):
            high = f"up to {math.exp(interval.high):.3f}" if math.isfinite(interval.high) else "no interval is known"
            return f"its perplexity may be above the limit of {limits['max_perplexity']:g}: {high}"
    return None


def _measured(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that ended ok with perplexity, memory and time measured."""
    rows = summary[summary["status"] == "ok"]
    return rows.dropna(subset=["perplexity", "peak_memory_gib", "train_seconds"])


def _best_row(rows: pd.DataFrame, configuration: Configuration) -> pd.Series:
    """Return the row of a configuration's seed with the lowest perplexity."""
    return rows_of(rows, configuration).sort_values("perplexity").iloc[0]


def _costs(row: pd.Series) -> str:
    """Return a run's perplexity, memory and time, in words."""
    seconds = row["train_seconds"]
    size, unit = next((one for one in ((3600, "hours"), (60, "minutes")) if seconds >= 2 * one[0]), (1, "seconds"))
    time = f"{seconds / size:.1f} {unit}"
    return f"perplexity {row['perplexity']:.3f}, {row['peak_memory_gib']:.2f} GiB, {time}"


def _saving(chosen: pd.DataFrame, best: pd.DataFrame) -> str:
    """Return what the chosen configuration's runs save against the best one's, in words."""
    less = best["peak_memory_gib"].max() - chosen["peak_memory_gib"].max()
    spread = SPREAD_GIB.get(chosen["memory_metric"].iloc[0], 0)
    return f"{less:.2f} GiB less memory" if less > spread else f"rank {chosen['rank'].iloc[0]} and no more memory"


def _said(limits: dict) -> str:
    """Return the limits that are set, in words."""
    words = {"memory_gib": "{:g} GiB", "hours": "{:g} hours of training", "max_perplexity": "a perplexity of {:g}"}
    given = [words[key].format(value) for key, value in limits.items() if value is not None]
    return listing(given) if given else "no limit, as none is set"
