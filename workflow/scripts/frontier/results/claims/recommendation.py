"""Recommend a configuration inside the limits, and say what holds that back. docs/findings.md has the rule.

choice.py chooses, bounds.py says what holds the choice back, wording.py tells the choice in words.
"""

import math
from dataclasses import replace

import pandas as pd

from frontier.results.claims.bounds import against_untrained, bounds, few_examples, settled_by
from frontier.results.claims.choice import Choice, Place, choose
from frontier.results.claims.claim import (
    CONTRADICTED,
    INCONCLUSIVE,
    SUPPORTED,
    Evidence,
    best_of,
    claim,
    interval_record,
    not_measured,
    percent,
    percent_record,
    percents,
)
from frontier.results.claims.compared import at_one_rate
from frontier.results.claims.limits import excess, limits_of, said
from frontier.results.claims.wording import (
    apart_in_words,
    costs_in_words,
    perplexity_in_words,
    quality_in_words,
    why_in_words,
)
from frontier.results.configurations import Configuration, configurations_of, rows_by_configuration
from frontier.results.contrasts import contrast
from frontier.results.derived import held_gib
from frontier.results.tuning import Tuned
from frontier.results.uncertainty import Interval

_NAME = "recommendation"


def recommendation(results: Evidence) -> dict:
    """Judge whether a run is worth taking: the cheapest configuration not told apart from the best that fits.

    An arm counts with its runs at its best learning rate; the untrained model is a candidate. Of several devices the
    one with the most runs counts, or where none of those fits the next: memory and time are compared within a device
    alone.
    """
    places = by_device(results)
    judged = ((place, recommend(place, results.tuned)) for place in places)
    fitting = next(((place, one) for place, one in judged if one["evidence"]["values"].get("precision")), None)
    if fitting is None:
        return recommend(results if not places else places[0], results.tuned)
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
    every = rows_by_configuration(summary)
    why_not = {arm: excess(every[tuned.arms[arm].at_best], limits) for arm in measured}
    allowed = [arm for arm in measured if why_not[arm] is None]
    if allowed:
        return _use(here, allowed)
    nearest = best_of(tuned.losses, measured)
    sentence = (
        f"No run keeps the limits, {said(limits)}; the best by perplexity, {here.title(nearest)}, {why_not[nearest]}."
    )
    one = claim(_NAME, CONTRADICTED, sentence, rows["run"], {"limits": limits})
    lines = tuned.lines(measured) if limits["max_perplexity"] is not None else []
    return _bounded(tuned, one, lines) | ({"verdict": INCONCLUSIVE} if lines else {})


def _use(here: Place, allowed: list[Configuration]) -> dict:
    """Return the claim that names the choice among the arms that keep the limits, what holds it back, and the next."""
    choice = choose(here, allowed)
    if choice.chosen.is_base:
        return _train_nothing(here, choice, allowed)
    tuned, chosen, row = here.tuned, choice.chosen, here.median_row(choice.chosen)
    at_best, lines = tuned.arms[chosen].at_best, bounds(here, choice, allowed)
    # A table of several studies tells in which folder an adapter lies.
    adapter = row.get("adapter") or f"results/runs/{row['run']}/adapter"
    whose = row["run"] if len(here.runs(chosen)) == 1 else f"{row['run']}, the run nearest its seeds' median"
    parts = [f"Use {here.title(chosen)}: {quality_in_words(here, chosen)}; {costs_in_words(here.runs(chosen))}."]
    parts += [f"Take the adapter of {whose}: {adapter}.", f"Limits: {said(here.limits)}.", why_in_words(here, choice)]
    values = {"run": row["run"], "precision": chosen.precision, "rank": chosen.rank}
    values |= {"learning_rate": at_best.learning_rate, **dict(chosen.others), "limits": here.limits, "runner_up": None}
    values |= {"adapter": adapter} | _numbers(here, choice, lines)
    runs, gap = here.results.runs(at_best), None
    others = [one for one in allowed if one != chosen and one in choice.others]
    if others:
        second = here.cheapest([one for one in choice.level if one in others] or [best_of(here.losses, others)])
        values["runner_up"] = here.median_row(second)["run"]
        gap = contrast(here.losses, {second: 1, chosen: -1}, choice.share)
        against = f", perplexity {percents(gap)} against it" if gap else ""
        parts.append(f"Runner-up: {here.title(second)} ({costs_in_words(here.runs(second))}{against}).")
        runs += here.results.runs(tuned.arms[second].at_best)
    found = settled_by(here, choice)
    if found is not None and (lines or len(choice.level) > 1):
        parts.append(f"What would settle it: {found[0]}.")
        values["settled_by"] = found[1]._asdict()
    verdict = INCONCLUSIVE if lines else SUPPORTED
    one = claim(_NAME, verdict, " ".join(parts), runs, values, _record(gap, choice) if gap else None)
    return _bounded(tuned, one, lines)


def _train_nothing(here: Place, choice: Choice, allowed: list[Configuration]) -> dict:
    """Return the claim that no run is better than the untrained model beyond noise."""
    losses, base = here.losses, choice.chosen
    nearest = best_of(losses, allowed)
    gaps = [contrast(losses, {one: 1, base: -1}, choice.share) for one in allowed]
    worse = all(gap is not None and gap.low > 0 for gap in gaps)
    gap = contrast(losses, {nearest: 1, base: -1})
    start = "No run is better than the untrained model" + ("" if worse else " beyond noise")
    sentence = (
        f"{start}: {here.title(base)} has a perplexity of {perplexity_in_words(here, base)}; the best of the trained, "
        f"{here.title(nearest)}, is {apart_in_words(gap)}. Limits: {said(here.limits)}."
    )
    lines = [*filter(None, [few_examples(here)]), *here.tuned.lines(allowed)]
    values = {"run": None, "precision": base.precision, "rank": base.rank, "learning_rate": None}
    values |= {"limits": here.limits, "runner_up": here.median_row(nearest)["run"], "adapter": None}
    values |= _numbers(here, choice, lines)
    runs = here.results.runs(*(here.tuned.arms[one].at_best for one in allowed))
    verdict = CONTRADICTED if worse and not lines else INCONCLUSIVE
    return _bounded(here.tuned, claim(_NAME, verdict, sentence, runs, values, percent_record(gap)), lines)


def _record(gap: Interval, choice: Choice) -> dict:
    """Return a difference between candidates as findings.json has it, at the level that it has of all of them."""
    return interval_record(gap, "% of perplexity", percent, 1 - choice.share)


def _bounded(tuned: Tuned, one: dict, lines: list[str]) -> dict:
    """Return a claim with what holds it back at the end of its sentence, and at which rate all was measured."""
    held = f" What holds it back: {'; '.join(lines)}." if lines else ""
    at_one = f" All {at_one_rate(tuned).removesuffix(',')}." if len(tuned.rates) < 2 else ""
    return one | {"sentence": f"{one['sentence']}{held}{at_one}"}


def _numbers(here: Place, choice: Choice, lines: list[str]) -> dict:
    """Return the numbers behind a choice: its perplexity, how far it is from its base, and what is level with it."""
    chosen = choice.chosen
    before = None if chosen.is_base else against_untrained(here, chosen)
    return {
        "perplexity": math.exp(contrast(here.losses, {chosen: 1}).estimate),
        "against_base": percent_record(before) if before else None,
        "not_told_apart": [here.title(one) for one in choice.level],
        "most_behind_percent": percent(choice.most_behind) if choice.most_behind < math.inf else None,
        "bounds": lines,
        "settled_by": None,
    }


def _measured(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that ended ok with perplexity, memory and time measured."""
    rows = summary[summary["status"] == "ok"]
    return rows.dropna(subset=["perplexity", "peak_memory_gib", "train_seconds"])
