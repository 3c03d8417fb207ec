"""Recommend a run inside the limits, and say why that one: claim 13. docs/findings.md has the claim's rule."""

import math
from dataclasses import dataclass, replace

import pandas as pd

from frontier.results.claims.claim import (
    CONTRADICTED,
    INCONCLUSIVE,
    SPREAD_GIB,
    SUPPORTED,
    Evidence,
    best_of,
    claim,
    not_measured,
    percent_record,
    percents,
)
from frontier.results.claims.compared import at_one_rate
from frontier.results.claims.limits import excess, limits_of, near_limit, said
from frontier.results.configurations import Configuration, configurations_of, rows_of
from frontier.results.contrasts import contrast
from frontier.results.derived import held_gib
from frontier.results.tuning import Tuned
from frontier.results.uncertainty import Interval

_NAME = "recommendation"


def recommendation(results: Evidence) -> dict:
    """Judge whether a run fits all limits: of the arms within one standard error of the best, the cheapest.

    An arm counts with its runs at its best learning rate. Cheapest is least memory, a difference within the repeats'
    spread not counted, then lowest rank. A limit that the runs' own uncertainty reaches, or a best rate at an edge of
    those tried, makes the verdict inconclusive. Of several devices the one with the most runs counts, or where none of
    those fits the next: memory and time are compared within a device alone.
    """
    places = by_device(results)
    judged = ((place, recommend(place, results.tuned)) for place in places)
    fitting = next((pair for pair in judged if "run" in pair[1]["evidence"]["values"]), None)
    if fitting is None:
        return recommend(results, results.tuned)
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


def recommend(results: Evidence, tuned: Tuned) -> dict:
    """Return the recommendation of one device's runs; `tuned` has the arms of all devices."""
    summary = results.summary.assign(held_gib=held_gib(results.summary))
    limits, rows = limits_of(results), _measured(summary)
    present = set(configurations_of(rows))
    measured = sorted(arm for arm, one in tuned.arms.items() if one.at_best in present)
    if not measured:
        return not_measured(_NAME, "no run that ended ok has its perplexity, memory and time measured")
    here = Place(results, tuned, rows, limits)
    why_not = {arm: excess(rows_of(summary, tuned.arms[arm].at_best), limits) for arm in measured}
    allowed = [arm for arm in measured if why_not[arm] is None]
    if allowed:
        return _use(here, allowed)
    nearest = best_of(tuned.losses, measured)
    sentence = (
        f"No run keeps the limits, {said(limits)}; the best by perplexity, {here.title(nearest)}, {why_not[nearest]}."
    )
    one = claim(_NAME, CONTRADICTED, sentence, rows["run"], {"limits": limits})
    return _at_the_edge(tuned, one, measured) if limits["max_perplexity"] is not None else one


@dataclass(frozen=True)
class Place:
    """What a recommendation is made of: one device's results, all arms, the rows measured there, and the limits."""

    results: Evidence
    tuned: Tuned
    rows: pd.DataFrame
    limits: dict

    def runs(self, arm: Configuration) -> pd.DataFrame:
        """Return the rows of an arm's runs at its best rate."""
        return rows_of(self.rows, self.tuned.arms[arm].at_best)

    def best_row(self, arm: Configuration) -> pd.Series:
        """Return the row of an arm's seed with the lowest perplexity at its best rate."""
        return self.runs(arm).sort_values("perplexity").iloc[0]

    def title(self, arm: Configuration) -> str:
        """Return an arm's name in a sentence, with its best rate where several were tried."""
        return (self.tuned.arms[arm].at_best if len(self.tuned.rates) > 1 else arm).title()


def _use(here: Place, allowed: list[Configuration]) -> dict:
    """Return the claim that names the cheapest of the arms that keep the limits, and the runner-up."""
    tuned, losses = here.tuned, here.tuned.losses
    chosen = choose(here, allowed)
    others = [one for one in allowed if one != chosen]
    row, best = here.best_row(chosen), best_of(losses, allowed)
    gap = None if chosen == best else contrast(losses, {chosen: 1, best: -1})
    several = len(tuned.rates) > 1 or len(here.results.settings) > 1
    named = f"{row['run']}, {here.title(chosen)}" if several else row["run"]
    sentence = f"Use {named}: {_costs(row)}. Limits: {said(here.limits)}. {_why(here, chosen, best, gap)}."
    at_best = tuned.arms[chosen].at_best
    values = {"run": row["run"], "precision": chosen.precision, "rank": chosen.rank}
    values |= {"learning_rate": at_best.learning_rate, **dict(chosen.others), "limits": here.limits, "runner_up": None}
    runs = here.results.runs(at_best)
    if others:
        second = choose(here, others)
        follower = here.best_row(second)
        gap = contrast(losses, {second: 1, chosen: -1})
        values["runner_up"] = follower["run"]
        against = f", perplexity {percents(gap)} against it" if gap else ""
        sentence += f" Runner-up: {follower['run']} ({_costs(follower)}{against})."
        runs += here.results.runs(tuned.arms[second].at_best)
    close = near_limit(losses, chosen, here.runs(chosen), here.limits)
    if close:
        sentence += f" But {close}."
    if len(tuned.rates) < 2:
        sentence += f" All {at_one_rate(tuned).removesuffix(',')}."
    verdict = INCONCLUSIVE if close else SUPPORTED
    one = claim(_NAME, verdict, sentence, runs, values, percent_record(gap) if gap else None)
    return _at_the_edge(tuned, one, allowed)


def _at_the_edge(tuned: Tuned, one: dict, arms: list[Configuration]) -> dict:
    """Return a claim that is INCONCLUSIVE, and says which rates to add, where an arm's best is at an edge of those."""
    lines = tuned.lines(arms)
    sentence = " ".join([one["sentence"], *(f"{line}." for line in lines)])
    return one | {"verdict": INCONCLUSIVE, "sentence": sentence} if lines else one


def choose(here: Place, arms: list[Configuration]) -> Configuration:
    """Return the cheapest of the arms within one standard error of the best, by paired differences."""
    best = best_of(here.tuned.losses, arms)
    level = []
    for one in arms:
        behind = contrast(here.tuned.losses, {one: 1, best: -1})
        if one == best or (behind is not None and behind.estimate <= behind.standard_error < math.inf):
            level.append(one)
    memory = {one: here.runs(one)["peak_memory_gib"].max() for one in level}
    metric = here.rows["memory_metric"].iloc[0]
    least = min(memory.values()) + SPREAD_GIB.get(metric, 0)
    return min((one for one in level if memory[one] <= least), key=lambda one: (one.rank, memory[one], one))


def _why(here: Place, chosen: Configuration, best: Configuration, gap: Interval | None) -> str:
    """Return why the chosen arm and not the best one, in words; `gap` is how far it is behind."""
    if chosen == best:
        return "No run that fits has a lower perplexity"
    saving = _saving(here.runs(chosen), here.runs(best))
    start = f"Of all that fit, {here.title(best)} has the lowest perplexity"
    return f"{start}; this is within one standard error of it, {percents(gap)}, with {saving}"


def _measured(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that ended ok with perplexity, memory and time measured."""
    rows = summary[summary["status"] == "ok"]
    return rows.dropna(subset=["perplexity", "peak_memory_gib", "train_seconds"])


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
