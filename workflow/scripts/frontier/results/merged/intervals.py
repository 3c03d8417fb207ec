"""Choose the best configuration by the summary's own intervals, where the losses of each example are not at hand."""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from frontier.results.claims.bounds import SEEDS
from frontier.results.claims.choice import Place
from frontier.results.claims.claim import (
    CONTRADICTED,
    INCONCLUSIVE,
    NEGLIGIBLE_LOSS,
    Evidence,
    claim,
    listing,
    not_measured,
    percent,
)
from frontier.results.claims.limits import excess, limits_of, said
from frontier.results.claims.wording import costs_in_words
from frontier.results.configurations import Configuration, configurations_of, rows_by_configuration
from frontier.results.contrasts import Losses
from frontier.results.figures.bests import bests
from frontier.results.tuning import Tuned

NO_LOSSES = Losses(np.empty((0, 0)), np.empty(0), np.empty((0, 0)), {})
WHY = (
    "the losses of each example (nll.parquet) are not at hand for all runs, so that configurations are compared by "
    "their runs' own intervals, which tell fewer apart"
)


@dataclass(frozen=True)
class _Level:
    """A configuration's perplexity, the mean over its seeds' losses, with the means of their intervals' ends."""

    estimate: float
    low: float
    high: float

    @property
    def words(self) -> str:
        """The perplexity and its interval, in words."""
        ends = f"{self.low:.3f} to {self.high:.3f}; other examples alone" if math.isfinite(self.high) else "no interval"
        return f"{self.estimate:.3f} ({ends})"


def level_of(rows: pd.DataFrame) -> _Level:
    """Return the perplexity of a configuration's runs and its interval, infinite where the table has none."""
    estimate = float(np.exp(rows["eval_loss"].mean()))
    names = ["perplexity_low", "perplexity_high"]
    if not set(names) <= set(rows) or rows[names].isna().any(axis=None):
        return _Level(estimate, -math.inf, math.inf)
    low, high = np.exp(np.log(rows[names].to_numpy(float)).mean(axis=0))
    return _Level(estimate, float(low), float(high))


def recommend(results: Evidence) -> dict:
    """Return the claim that names the cheapest configuration within the limits that is not told apart from the best.

    Told apart are two whose intervals do not touch, or that are 2% apart.
    """
    table, limits = results.summary, limits_of(results)
    rows = table[table["status"] == "ok"].dropna(subset=["perplexity", "peak_memory_gib", "train_seconds"])
    known = {one.arm: one.known for one in bests(pd.concat([rows, table[table["status"] != "ok"]]))}
    if not known:
        return not_measured("recommendation", "no run that ended ok has its perplexity, memory and time measured")
    place = Place(results, Tuned(NO_LOSSES, NO_LOSSES, known, NO_LOSSES), rows, limits)
    every = rows_by_configuration(table)
    levels = {arm: level_of(place.runs(arm)) for arm in known}
    why_not = {arm: excess(every[one.at_best], limits) for arm, one in known.items()}
    allowed = [arm for arm in known if why_not[arm] is None]
    if not allowed:
        nearest = min(known, key=lambda arm: levels[arm].estimate)
        sentence = f"No run keeps the limits, {said(limits)}; the best by perplexity, {place.title(nearest)}, "
        return claim("recommendation", CONTRADICTED, f"{sentence}{why_not[nearest]}.", values={"limits": limits})
    better = [arm for arm in allowed if not _is_untrained(place.runs(arm))]
    if not better:
        sentence = f"No run is better than the untrained model. Limits: {said(limits)}."
        return claim("recommendation", CONTRADICTED, sentence, values={"run": None, "limits": limits})
    return _use(place, better, levels)


def _is_untrained(rows: pd.DataFrame) -> bool:
    """Return whether runs are no better than their untrained model, where its perplexity is told."""
    return "base_perplexity" in rows and bool((rows["perplexity"] >= rows["base_perplexity"]).all())


def _use(place: Place, allowed: list[Configuration], levels: dict[Configuration, _Level]) -> dict:
    """Return the claim that names the choice among the arms that keep the limits."""
    best = min(allowed, key=lambda arm: levels[arm].estimate)
    most = levels[best].estimate * math.exp(NEGLIGIBLE_LOSS)
    level = [
        arm for arm in allowed if (levels[arm].estimate < most and levels[arm].low <= levels[best].high) or arm == best
    ]
    chosen = place.cheapest(level)
    row, rows = place.median_row(chosen), place.runs(chosen)
    parts = [f"Use {place.title(chosen)}: perplexity {levels[chosen].words}; {costs_in_words(rows)}."]
    parts += [f"Take the adapter of {row['run']}: {row['adapter']}.", f"Limits: {said(place.limits)}."]
    parts.append(_why(place, chosen, best, level, levels))
    parts.append(f"What holds it back: {'; '.join(_bounds(place, rows, allowed))}.")
    values = {"run": row["run"], "precision": chosen.precision, "rank": chosen.rank, "limits": place.limits}
    return claim("recommendation", INCONCLUSIVE, " ".join(parts), rows["run"], values)


def _why(place: Place, chosen, best, level: list[Configuration], levels: dict[Configuration, _Level]) -> str:
    """Return why the chosen one and no other, in words."""
    if len(level) == 1:
        return "No other run that fits is as good, by its interval or within 2%."
    named = listing(place.title(one) for one in level)
    words = f"It is the cheapest of {len(level)} that are not told apart: {named}."
    if chosen == best:
        return words
    behind = percent(math.log(levels[chosen].estimate / levels[best].estimate))
    return f"{words} Of all that fit, {place.title(best)} has the lowest perplexity; the choice is {behind:+.1f}%."


def _bounds(place: Place, rows: pd.DataFrame, allowed: list[Configuration]) -> list[str]:
    """Return what holds a choice back, each in a line."""
    lines = [WHY]
    if len(rows) == 1:
        lines.append(f"it was trained with one seed, and nobody knows what another would give: add seeds up to {SEEDS}")
    repeats = Counter(arm.precision for arm in configurations_of(rows))
    if len(rows) > 1 and sum(repeats.values()) < SEEDS:
        lines.append(f"it was trained with {len(rows)} seeds, and the intervals allow for none")
    return [*lines, *place.tuned.lines(allowed)]
