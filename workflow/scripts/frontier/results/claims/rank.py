"""Judge what rank buys. docs/findings.md has each claim's rule."""

import itertools
import warnings
from dataclasses import replace

from kneed import KneeLocator

from frontier.results.claims.claim import (
    ALPHA,
    CONTRADICTED,
    INCONCLUSIVE,
    SUPPORTED,
    Evidence,
    best_of,
    claim,
    interval_record,
    listing,
    loss_of,
    not_measured,
    percents,
    perplexity_of,
    span,
    verdict_of,
)
from frontier.results.claims.compared import compared
from frontier.results.configurations import Configuration
from frontier.results.contrasts import Losses, contrast
from frontier.results.uncertainty import Interval


def rank_monotone(results: Evidence) -> dict:
    """Judge whether NF4's loss falls with every rank: each step by its estimate, the whole beyond noise."""
    name, losses = "rank_monotone", results.arms
    ranked = losses.trained("nf4")
    pairs = list(itertools.pairwise(ranked))
    steps = {f"{low.rank} to {high.rank}": _fall(losses, low, high) for low, high in pairs}
    if not steps or None in steps.values():
        return not_measured(name, "it takes NF4's perplexity at two ranks or more, of one seed at least")
    joint = [_fall(losses, low, high, ALPHA / len(steps)) for low, high in pairs]
    first, last = ranked[0], ranked[-1]
    whole = _fall(losses, first, last)
    if whole is None:
        return not_measured(name, f"NF4's ranks {first.rank} and {last.rank} have no seed in common")
    rises = [step for step, fall in zip(steps, joint, strict=True) if fall.high < 0]
    if rises:
        verdict, start = CONTRADICTED, f"Under NF4 perplexity rises beyond noise from rank {listing(rises)}"
    elif whole.low > 0 and all(fall.estimate > 0 for fall in steps.values()):
        verdict, start = SUPPORTED, "Under NF4 perplexity falls with every rank, and beyond noise from first to last"
    else:
        verdict, start = INCONCLUSIVE, "Whether perplexity falls with every rank under NF4 is lost in noise"
    alone = [step for step, fall in steps.items() if fall.low <= 0 <= fall.high]
    tail = f" Within noise by itself: {listing(alone)}." if alone else ""
    each = "; ".join(f"{step}: {_fallen(fall)}" for step, fall in steps.items())
    values = {
        "perplexity": _perplexities(losses, ranked),
        "fall_nats": {step: fall.estimate for step, fall in steps.items()},
        "steps_within_noise": alone,
    }
    record = interval_record(whole, f"nats a token, fall from rank {first.rank} to {last.rank}")
    one = claim(name, verdict, f"{start}. Change by step, {each}.{tail}", results.runs(*ranked), values, record)
    return compared(results, one, ranked)


def diminishing_returns(results: Evidence) -> dict:
    """Judge whether one doubling of NF4's rank gains more than the next: 8 to 16 and 32, or the highest such three."""
    name, losses = "diminishing_returns", results.arms
    by_rank = {one.rank: one for one in losses.trained("nf4")}
    triples = [rank for rank in by_rank if 2 * rank in by_rank and 4 * rank in by_rank]
    if not triples:
        return not_measured(name, "it takes NF4's perplexity at three ranks, each twice the one before")
    start = 8 if 8 in triples else triples[-1]
    low, middle, high = (by_rank[factor * start] for factor in (1, 2, 4))
    more = contrast(losses, {low: 1, middle: -2, high: 1})
    if more is None:
        reason = f"NF4's ranks {low.rank}, {middle.rank} and {high.rank} have no seed in common"
        return not_measured(name, reason)
    verdict = verdict_of(more)
    words = {SUPPORTED: "more than", CONTRADICTED: "less than", INCONCLUSIVE: "an amount within noise of"}
    first, second = _fall(losses, low, middle).estimate, _fall(losses, middle, high).estimate
    sentence = (
        f"Under NF4 the step from rank {low.rank} to {middle.rank} gains {first:+.4f} nats a token, {words[verdict]} "
        f"the step from {middle.rank} to {high.rank}, {second:+.4f}: a difference of {span(more, '{:+.4f}'.format)}."
    )
    values = {"gain_nats": {f"{low.rank} to {middle.rank}": first, f"{middle.rank} to {high.rank}": second}}
    record = interval_record(more, "nats a token, first gain less second")
    one = claim(name, verdict, sentence, results.runs(low, middle, high), values, record)
    return compared(results, one, [low, middle, high])


def knee(results: Evidence) -> dict:
    """Judge where more rank stops paying, by the one-standard-error rule on paired differences from the best rank.

    The 1 SE rule of Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984. Under NF4, or
    where that has fewer than three ranks, at the precision with the most.
    """
    name, losses = "knee", results.arms
    ranked = most_ranks(losses)
    if len(ranked) < 3 or contrast(losses, dict.fromkeys(ranked, 1)) is None:
        return not_measured(name, "it takes the perplexity at three ranks of one precision and seed")
    best, (before, last) = best_of(losses, ranked), ranked[-2:]
    behind = {one: contrast(losses, {one: 1, best: -1}) for one in ranked if one != best}
    end = _fall(losses, before, last)
    verdict, word, place = _find_knee(losses, best, behind, end, last)
    curvature = curvature_knee([one.rank for one in ranked], [loss_of(losses, one) for one in ranked])
    bend = f"kneed puts the curvature knee at r = {curvature}" if curvature else "kneed finds no curvature knee"
    sentence = (
        f"{best.precision}: {word}. The best is r = {best.rank}; the last step, {before.rank} to {last.rank}, changes "
        f"perplexity by {_fallen(end)}; {bend}."
    )
    values = {
        "knee": place,
        "curvature_knee": curvature,
        "best_rank": best.rank,
        "perplexity": _perplexities(losses, ranked),
        "behind_best_nats": {one.rank: gap.estimate for one, gap in behind.items()},
        "standard_error_nats": {one.rank: gap.standard_error for one, gap in behind.items()},
    }
    record = interval_record(end, f"nats a token, fall from rank {before.rank} to {last.rank}")
    return compared(results, claim(name, verdict, sentence, results.runs(*ranked), values, record), ranked)


def curvature_knee(ranks: list[int], losses: list[float]) -> int | None:
    """Return the rank where a falling, convex curve bends most, as kneed finds it over the ranks; None if nowhere.

    Of three ranks it can only be the middle one, whatever the noise. Satopaa et al., 2011, Finding a "Kneedle".
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = KneeLocator(ranks, losses, curve="convex", direction="decreasing").knee
    return None if found is None else int(found)


def most_ranks(losses: Losses) -> list[Configuration]:
    """Return NF4's trained configurations, or where there are fewer than three those of the precision with the most."""
    of_nf4 = losses.trained("nf4")
    if len(of_nf4) >= 3:
        return of_nf4
    precisions = sorted({one.precision for one in losses.columns})
    return max(map(losses.trained, precisions), key=len, default=[])


def _find_knee(
    losses: Losses, best: Configuration, behind: dict[Configuration, Interval], end: Interval, last: Configuration
) -> tuple[str, str, int | None]:
    """Return the verdict on the knee, what it says in words, and the rank of the knee, None where there is none.

    `behind` has by how much each other configuration's loss is above the best one's, `end` how much the last step of
    rank gains.
    """
    level = [one.rank for one, gap in behind.items() if gap.estimate <= gap.standard_error]
    place = min([best.rank, *level])
    alpha = ALPHA / len(behind)
    if all(contrast(losses, {one: 1, best: -1}, alpha).low <= 0 for one in behind):
        return INCONCLUSIVE, "flat within noise: no rank differs from the best", None
    if end.low > 0:
        return CONTRADICTED, f"no knee up to r = {last.rank}: the loss still falls beyond noise there", None
    if place == last.rank:
        return INCONCLUSIVE, f"no knee before r = {last.rank}, yet the last step is within noise", None
    return SUPPORTED, f"a knee at r = {place}, the smallest rank within one standard error of the best", place


def _perplexities(losses: Losses, configurations: list[Configuration]) -> dict[int, float]:
    """Return each configuration's perplexity by its rank."""
    return {one.rank: perplexity_of(losses, one) for one in configurations}


def _fall(losses: Losses, low: Configuration, high: Configuration, alpha: float = ALPHA) -> Interval | None:
    """Return by how much the loss falls from one configuration to another, nats a token."""
    return contrast(losses, {low: 1, high: -1}, alpha)


def _fallen(fall: Interval) -> str:
    """Return a fall of the loss as the change of perplexity that it is, in words."""
    return percents(replace(fall, estimate=-fall.estimate, low=-fall.high, high=-fall.low))
