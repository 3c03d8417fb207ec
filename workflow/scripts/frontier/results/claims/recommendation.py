"""Claim 13: the run to use inside the limits, why that one, and the runner-up. docs/findings.md has the rule."""

import math
from dataclasses import replace

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
    title,
)
from frontier.results.contrasts import contrast
from frontier.results.derived import held_gib


def recommendation(results: Evidence) -> dict:
    """Whether a run fits all limits: of the configurations within one standard error of the best, the cheapest.

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
    """The results of each device and memory metric apart, those of the most measured runs first.

    A run that did not end ok counts where it ran, and everywhere if nothing tells where.
    """
    summary, parts = results.summary, []
    for (device, metric), rows in _measured(summary).groupby(["device", "memory_metric"]):
        here = (summary["device"] == device) & (summary["memory_metric"] == metric)
        failed = (summary["status"] != "ok") & (summary["device"].isna() | (summary["device"] == device))
        parts.append((len(rows), replace(results, summary=summary[here | failed])))
    return [part for _, part in sorted(parts, key=lambda one: -one[0])]


def recommend(results: Evidence) -> dict:
    """The recommendation of one device's runs."""
    name = "recommendation"
    results = replace(results, summary=results.summary.assign(held_gib=held_gib(results.summary)))
    limits = {key: results.recommend[key] for key in ("memory_gib", "hours", "max_perplexity")}
    limits = {key: results.budget.get(key) if value is None else value for key, value in limits.items()}
    rows = _measured(results.summary)
    measured = [one for one in _configurations(rows) if one in results.losses.columns]
    if not measured:
        return not_measured(name, "no run that ended ok has its perplexity, memory and time measured")
    allowed = [one for one in measured if _excess(_rows(results.summary, one), limits) is None]
    if not allowed:
        nearest = best_of(results, measured)
        reason = _excess(_rows(results.summary, nearest), limits)
        sentence = f"No run keeps the limits, {_said(limits)}; the best by perplexity, {title(nearest)}, {reason}."
        return claim(name, CONTRADICTED, sentence, rows["run"], {"limits": limits})
    chosen = choose(results, rows, allowed)
    others = [one for one in allowed if one != chosen]
    best = best_of(results, allowed)
    row = _rows(rows, chosen).sort_values("perplexity").iloc[0]
    close = _near_limit(results, chosen, _rows(rows, chosen), limits)
    sentence = f"Use {row['run']}: {_costs(row)}. Limits: {_said(limits)}. "
    gap = None
    if chosen == best:
        sentence += "No run that fits has a lower perplexity"
    else:
        gap = contrast(results.losses, {chosen: 1, best: -1})
        sentence += f"Of all that fit, {title(best)} has the lowest perplexity; this is within one standard error of it"
        sentence += f", {percents(gap)}, with {_saving(_rows(rows, chosen), _rows(rows, best))}"
    sentence += "."
    values = {"run": row["run"], "precision": chosen[0], "rank": chosen[1], "limits": limits, "runner_up": None}
    runs = results.runs(chosen)
    if others:
        second = choose(results, rows, others)
        follower = _rows(rows, second).sort_values("perplexity").iloc[0]
        gap = contrast(results.losses, {second: 1, chosen: -1})
        values["runner_up"] = follower["run"]
        against = f", perplexity {percents(gap)} against it" if gap else ""
        sentence += f" Runner-up: {follower['run']} ({_costs(follower)}{against})."
        runs += results.runs(second)
    if close:
        sentence += f" But {close}."
    verdict = INCONCLUSIVE if close else SUPPORTED
    return claim(name, verdict, sentence, runs, values, percent_record(gap) if gap else None)


def choose(results: Evidence, rows: pd.DataFrame, configurations: list[tuple[str, int]]) -> tuple[str, int]:
    """The cheapest of the configurations within one standard error of the best, by paired differences."""
    best = best_of(results, configurations)
    level = []
    for one in configurations:
        behind = contrast(results.losses, {one: 1, best: -1})
        if one == best or (behind is not None and behind.estimate <= behind.standard_error < math.inf):
            level.append(one)
    memory = {one: _rows(rows, one)["peak_memory_gib"].max() for one in level}
    metric = rows["memory_metric"].iloc[0]
    least = min(memory.values()) + SPREAD_GIB.get(metric, 0)
    return min((one for one in level if memory[one] <= least), key=lambda one: (one[1], memory[one], one[0]))


def _excess(rows: pd.DataFrame, limits: dict) -> str | None:
    """What of a configuration's runs breaks a limit, as words; None where nothing does."""
    if (rows["status"] != "ok").any():
        row = rows[rows["status"] != "ok"].iloc[0]
        return f"has a run that ended {row['status']}"
    for key, column, unit, form in (
        ("memory_gib", "held_gib", 1, "takes {:.2f} GiB"),
        ("hours", "train_seconds", 3600, "takes {:.2f} hours"),
        ("max_perplexity", "perplexity", 1, "has a perplexity of {:.3f}"),
    ):
        value = rows[column].mean() if key == "max_perplexity" else rows[column].max()
        if limits[key] is not None and value / unit > limits[key]:
            return form.format(value / unit)
    return None


def _near_limit(results: Evidence, configuration, rows: pd.DataFrame, limits: dict) -> str | None:
    """Which limit the uncertainty of a measurement reaches past, as words."""
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
    rows = summary[summary["status"] == "ok"]
    return rows.dropna(subset=["perplexity", "peak_memory_gib", "train_seconds"])


def _configurations(rows: pd.DataFrame) -> list[tuple[str, int]]:
    return sorted({(precision, int(rank)) for precision, rank in zip(rows["precision"], rows["rank"], strict=True)})


def _rows(rows: pd.DataFrame, configuration: tuple[str, int]) -> pd.DataFrame:
    return rows[(rows["precision"] == configuration[0]) & (rows["rank"] == configuration[1])]


def _costs(row) -> str:
    seconds = row["train_seconds"]
    size, unit = next((one for one in ((3600, "hours"), (60, "minutes")) if seconds >= 2 * one[0]), (1, "seconds"))
    time = f"{seconds / size:.1f} {unit}"
    return f"perplexity {row['perplexity']:.3f}, {row['peak_memory_gib']:.2f} GiB, {time}"


def _saving(chosen: pd.DataFrame, best: pd.DataFrame) -> str:
    less = best["peak_memory_gib"].max() - chosen["peak_memory_gib"].max()
    spread = SPREAD_GIB.get(chosen["memory_metric"].iloc[0], 0)
    return f"{less:.2f} GiB less memory" if less > spread else f"rank {chosen['rank'].iloc[0]} and no more memory"


def _said(limits: dict) -> str:
    words = {"memory_gib": "{:g} GiB", "hours": "{:g} hours of training", "max_perplexity": "a perplexity of {:g}"}
    given = [words[key].format(value) for key, value in limits.items() if value is not None]
    return listing(given) if given else "no limit, as none is set"
