"""Judge what the learning rate is beside the rank, and what moves its best value.

docs/findings.md has each claim's rule.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace

from frontier import axes
from frontier.results.claims.claim import (
    ALPHA,
    CONTRADICTED,
    INCONCLUSIVE,
    SUPPORTED,
    Evidence,
    claim,
    interval_record,
    listing,
    not_measured,
    percents,
    span,
)
from frontier.results.claims.compared import compared, held_back
from frontier.results.claims.rank import most_ranks
from frontier.results.configurations import Configuration
from frontier.results.contrasts import Losses, contrast
from frontier.results.tuning import worst
from frontier.results.uncertainty import Interval

# The axes that are rules of how a rate acts on an adapter.
_RULES = ("alpha", "rslora")
# Beyond this many times the ranks' spread a ratio has no upper end.
_MOST = 1e4
_HALVINGS = 40


def rate_matters(results: Evidence) -> dict:
    """Judge whether an arm's worst rate costs more against its best than the lowest rank against the highest.

    The ranks are at their best rates; the rates' cost is the mean over the ranks that have several.
    """
    name, losses = "rate_matters", results.tuned.with_worst
    if reason := one_rate(results):
        return not_measured(name, reason)
    ranked = most_ranks(results.arms)
    several = [arm for arm in ranked if worst(arm) in losses.columns]
    if len(ranked) < 2 or not several:
        return not_measured(name, "it takes the perplexity at two ranks of one precision, of one at several rates")
    low, high = ranked[0], ranked[-1]
    rates = _sum(*(({worst(arm): 1, arm: -1}, 1 / len(several)) for arm in several))
    ranks: Mapping[Configuration, float] = {low: 1, high: -1}
    of_rates, of_ranks = contrast(losses, rates), contrast(losses, ranks)
    if of_rates is None or of_ranks is None or contrast(losses, _sum((rates, 1), (ranks, 1))) is None:
        return not_measured(name, f"{low.precision}'s ranks have no seed in common")
    # A rank that makes the loss worse counts as one that makes it better.
    ranks = _sum((ranks, math.copysign(1, of_ranks.estimate)))
    less = contrast(losses, _sum((rates, 1), (ranks, -1)))
    both = contrast(losses, _sum((rates, 1), (ranks, 1)))
    verdict = SUPPORTED if min(less.low, both.low) > 0 else CONTRADICTED if less.high < 0 else INCONCLUSIVE
    ratio = _ratio(losses, rates, ranks)
    words = {SUPPORTED: "more than", CONTRADICTED: "less than", INCONCLUSIVE: "within noise of"}
    first, last = results.tuned.rates[0], results.tuned.rates[-1]
    sentence = (
        f"Under {low.precision} the worst learning rate of {axes.text(first)} to {axes.text(last)} costs "
        f"{percents(of_rates)} in perplexity against each rank's best, {words[verdict]} rank {low.rank} against "
        f"{high.rank}, {percents(of_ranks)}: {span(ratio, '{:.2g} times'.format)} as much."
    )
    values = {"rates_nats": of_rates.estimate, "ranks_nats": of_ranks.estimate, "ratio": ratio.estimate}
    record = interval_record(ratio, "times the ranks' difference")
    return compared(results, claim(name, verdict, sentence, results.runs(*ranked), values, record), ranked)


def best_rate(results: Evidence) -> dict:
    """Judge whether the best learning rate falls from the lowest rank to the highest, beyond noise.

    Beyond noise is that no rate not told apart from the best of the one is among, or beyond, those of the other.
    """
    name, tuned = "best_rate", results.tuned
    if reason := one_rate(results):
        return not_measured(name, reason)
    ranked = [arm for arm in most_ranks(results.arms) if len(tuned.arms[arm].losses) > 1]
    if len(ranked) < 2:
        return not_measured(name, "it takes the perplexity at two ranks of one precision, each at several rates")
    low, high = ranked[0], ranked[-1]
    # The two sets hold the two best rates together: each has half of the 5%.
    of_low, of_high = (tuned.level_with_best(arm, ALPHA / 2) for arm in (low, high))
    if min(of_low) > max(of_high):
        verdict, word = SUPPORTED, "falls with rank"
    elif max(of_low) <= min(of_high):
        verdict = CONTRADICTED
        word = "is the same" if of_low == of_high else "does not fall with rank"
    else:
        verdict, word = INCONCLUSIVE, "cannot be told to fall with rank"
    arms = [arm for arm in tuned.arms if arm in results.arms.columns]
    level = {arm: tuned.level_with_best(arm) for arm in arms}
    each = "; ".join(f"{arm.title()}: {with_level(tuned.arms[arm].best, level[arm])}" for arm in arms)
    sentence = f"Under {low.precision} the best learning rate {word}, from rank {low.rank} to {high.rank}. {each}."
    values = {
        "best_rate": {arm.title(): tuned.arms[arm].best for arm in arms},
        "level": {arm.title(): level[arm] for arm in arms},
    }
    return held_back(tuned, claim(name, verdict, sentence, results.runs(*arms), values), [low, high])


def rate_rule(results: Evidence) -> dict:
    """Judge whether alpha or rslora moves the best learning rate, between arms that differ in nothing else."""
    name, tuned = "rate_rule", results.tuned
    groups: dict[Configuration, list[Configuration]] = {}
    for arm in tuned.arms:
        if len(tuned.arms[arm].losses) > 1 and any(axis in _RULES for axis, _ in arm.others):
            others = tuple(pair for pair in arm.others if pair[0] not in _RULES)
            groups.setdefault(replace(arm, others=others), []).append(arm)
    groups = {one: arms for one, arms in groups.items() if len(arms) > 1}
    if not groups:
        return not_measured(
            name, "it takes several values of lora.alpha or lora.rslora, each at several learning rates"
        )
    arms = [arm for several in groups.values() for arm in several]
    # All sets together hold the best rates: each has its share of the 5%.
    level = {arm: tuned.level_with_best(arm, ALPHA / len(arms)) for arm in arms}
    pairs = [pair for several in groups.values() for pair in itertools.combinations(several, 2)]
    if any(set(level[one]).isdisjoint(level[other]) for one, other in pairs):
        verdict, word = SUPPORTED, "moves the best learning rate"
    elif all(level[one] == level[other] and len(level[one]) == 1 for one, other in pairs):
        verdict, word = CONTRADICTED, "leaves the best learning rate where it is"
    else:
        verdict, word = INCONCLUSIVE, "cannot be told to move the best learning rate"
    rules = listing(sorted({axis for arm in arms for axis, _ in arm.others if axis in _RULES}))
    each = "; ".join(f"{arm.title()}: {with_level(tuned.arms[arm].best, level[arm])}" for arm in arms)
    sentence, values = f"{rules.capitalize()} {word}. {each}.", {"level": {arm.title(): level[arm] for arm in arms}}
    return held_back(tuned, claim(name, verdict, sentence, results.runs(*arms), values), arms)


def one_rate(results: Evidence) -> str | None:
    """Return what it takes where the study has no more than one learning rate, else None."""
    rates = results.tuned.rates
    if len(rates) > 1:
        return None
    middle = rates[0] if rates else 1e-3
    several = ", ".join(axes.text(float(f"{factor * middle:.3g}")) for factor in (0.5, 1, 2))
    return f"it takes several values of learning_rate, such as [{several}]"


def with_level(best: float, level: list[float]) -> str:
    """Return an arm's best rate with those not told apart from it, in words."""
    others = [axes.text(rate) for rate in level if rate != best]
    return axes.text(best) + (f", not told apart from {listing(others)}" if others else "")


def _sum(*parts: tuple[Mapping[Configuration, float], float]) -> dict[Configuration, float]:
    """Return the sum of contrasts' weights, each times its factor."""
    weights: dict[Configuration, float] = {}
    for one, factor in parts:
        for configuration, weight in one.items():
            weights[configuration] = weights.get(configuration, 0) + factor * weight
    return weights


def _ratio(losses: Losses, above: Mapping[Configuration, float], below: Mapping[Configuration, float]) -> Interval:
    """Return how many times one difference is another, which is positive: the ratios that the losses do not exclude.

    A ratio r is excluded where the one less r times the other is told from nought (Fieller, Journal of the Royal
    Statistical Society B 16, 1954, pp. 175-185). Where the other is not told from nought there is no upper end.
    """

    def left(ratio: float) -> Interval:
        return contrast(losses, _sum((above, 1), (below, -ratio)))

    estimate = left(0).estimate / max(contrast(losses, below).estimate, 1e-12)
    low = 0.0 if left(0).low <= 0 else _edge(lambda ratio: left(ratio).low > 0, 0, max(estimate, 0))
    high = math.inf if left(_MOST).high >= 0 else _edge(lambda ratio: left(ratio).high >= 0, max(estimate, 0), _MOST)
    return Interval(estimate, low, high, math.inf, left(0).basis)


def _edge(holds, start: float, end: float) -> float:
    """Return where between two numbers a condition ceases to hold that holds at the first."""
    for _ in range(_HALVINGS):
        middle = (start + end) / 2
        start, end = (middle, end) if holds(middle) else (start, middle)
    return start
