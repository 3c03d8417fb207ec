"""Tell a recommendation's choice in words: its quality, its costs, and why it and no other."""

import math
from dataclasses import replace

import pandas as pd

from frontier.results.claims.bounds import against_untrained
from frontier.results.claims.choice import Choice, Place
from frontier.results.claims.claim import SPREAD_GIB, listing, percent, percents, span
from frontier.results.configurations import Configuration
from frontier.results.contrasts import contrast
from frontier.results.uncertainty import Interval


def perplexity_in_words(here: Place, one: Configuration) -> str:
    """Return a candidate's perplexity with its interval, the mean over seeds where there are several, in words."""
    return span(contrast(here.losses, {one: 1}), lambda loss: f"{math.exp(min(loss, 700)):.3f}")


def quality_in_words(here: Place, one: Configuration) -> str:
    """Return a trained configuration's perplexity, and by how much that is lower than before training, in words."""
    before = against_untrained(here, one)
    words = f"perplexity {perplexity_in_words(here, one)}"
    if before is None:
        return words
    if before.estimate >= 0:
        return f"{words}, {percents(before)} against before training"
    # The other way round, since so much lower is a positive number: 23% lower (21% to 25%).
    turned = replace(before, low=before.high, high=before.low)
    lower, ends = span(turned, lambda value: f"{-percent(value):.1f}%").split(" ", 1)
    return f"{words}, {lower} lower than before training {ends}"


def apart_in_words(gap: Interval) -> str:
    """Return how far a perplexity is from another, in percent, or where that is no picture, in times."""
    if gap.estimate < 1:
        return f"{percents(gap)} against that"
    return f"{math.exp(min(gap.estimate, 700)):.3g} times that ({gap.basis})"


def why_in_words(here: Place, choice: Choice) -> str:
    """Return why the chosen one and no other, and by how much another may be better at most, in words."""
    chosen, best, level = choice.chosen, choice.best, choice.level
    named = listing(here.title(one) for one in level)
    if chosen != best:
        gap, saving = percents(choice.others[best]), _saving(here.runs(chosen), here.runs(best))
        words = f"It is the cheapest of {len(level)} that are not told apart: {named}. Of all that fit, "
        words += f"{here.title(best)} has the lowest perplexity; the choice is {gap} against it, with {saving}"
    elif len(level) > 1:
        words = f"It has the lowest perplexity, and is the cheapest of {len(level)} that are not told apart: {named}"
    else:
        words = "No run that fits has a lower perplexity"
    if not choice.others or choice.most_behind > 1:
        return f"{words}."
    if choice.most_behind == 0:
        return f"{words}; all others are worse beyond noise."
    return f"{words}. None is better by more than {percent(choice.most_behind):.1f}%."


def costs_in_words(rows: pd.DataFrame) -> str:
    """Return the memory and time of a configuration's runs, in words."""
    seconds = rows["train_seconds"].mean()
    size, unit = next((one for one in ((3600, "hours"), (60, "minutes")) if seconds >= 2 * one[0]), (1, "seconds"))
    return f"{rows['peak_memory_gib'].max():.2f} GiB, {seconds / size:.1f} {unit}"


def _saving(chosen: pd.DataFrame, best: pd.DataFrame) -> str:
    """Return what the chosen configuration's runs save against the best one's, in words."""
    less = best["peak_memory_gib"].max() - chosen["peak_memory_gib"].max()
    spread = SPREAD_GIB.get(chosen["memory_metric"].iloc[0], 0)
    if less > spread:
        return f"{less:.2f} GiB less memory"
    lower = best["rank"].iloc[0] > chosen["rank"].iloc[0]
    return f"rank {chosen['rank'].iloc[0]} and no more memory" if lower else "less time and no more memory"
