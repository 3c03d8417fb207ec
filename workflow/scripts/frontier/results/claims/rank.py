"""What rank buys under NF4: claims 6 to 8. docs/findings.md has each claim's rule."""

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
)
from frontier.results.contrasts import contrast


def rank_monotone(results: Evidence) -> dict:
    """Whether NF4's loss falls from each rank to the next: every estimate, and all of it together beyond noise."""
    name, losses = "rank_monotone", results.losses
    ranks = losses.ranks("nf4")
    steps = {f"{low} to {high}": _fall(results, low, high) for low, high in itertools.pairwise(ranks)}
    if not steps or None in steps.values():
        return not_measured(name, "it takes NF4's perplexity at two ranks or more, of one seed at least")
    joint = [_fall(results, low, high, ALPHA / len(steps)) for low, high in itertools.pairwise(ranks)]
    whole = _fall(results, ranks[0], ranks[-1])
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
    return claim(
        name,
        verdict,
        f"{start}. Change by step, {each}.{tail}",
        results.runs(*[("nf4", rank) for rank in ranks]),
        {
            "perplexity": {rank: perplexity_of(results, ("nf4", rank)) for rank in ranks},
            "fall_nats": {step: fall.estimate for step, fall in steps.items()},
            "steps_within_noise": alone,
        },
        interval_record(whole, f"nats a token, fall from rank {ranks[0]} to {ranks[-1]}"),
    )


def diminishing_returns(results: Evidence) -> dict:
    """Whether one doubling of NF4's rank gains more than the next: 8 to 16 and 32, or the highest such three."""
    name, ranks = "diminishing_returns", results.losses.ranks("nf4")
    triples = [rank for rank in ranks if 2 * rank in ranks and 4 * rank in ranks]
    if not triples:
        return not_measured(name, "it takes NF4's perplexity at three ranks, each twice the one before")
    low = 8 if 8 in triples else triples[-1]
    middle, high = 2 * low, 4 * low
    more = contrast(results.losses, {("nf4", low): 1, ("nf4", middle): -2, ("nf4", high): 1})
    if more is None:
        return not_measured(name, f"NF4's ranks {low}, {middle} and {high} have no seed in common")
    verdict = SUPPORTED if more.low > 0 else CONTRADICTED if more.high < 0 else INCONCLUSIVE
    words = {SUPPORTED: "more than", CONTRADICTED: "less than", INCONCLUSIVE: "an amount within noise of"}
    first, second = _fall(results, low, middle), _fall(results, middle, high)
    sentence = (
        f"Under NF4 the step from rank {low} to {middle} gains {first.estimate:+.4f} nats a token, {words[verdict]} "
        f"the step from {middle} to {high}, {second.estimate:+.4f}: a difference of {span(more, '{:+.4f}'.format)}."
    )
    return claim(
        name,
        verdict,
        sentence,
        results.runs(*[("nf4", rank) for rank in (low, middle, high)]),
        {"gain_nats": {f"{low} to {middle}": first.estimate, f"{middle} to {high}": second.estimate}},
        interval_record(more, "nats a token, first gain less second"),
    )


def knee(results: Evidence) -> dict:
    """Where more rank stops paying, by the one-standard-error rule on paired differences from the best rank.

    The 1 SE rule of Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984. Under NF4, or
    where that has fewer than three ranks, at the precision with the most.
    """
    name, losses = "knee", results.losses
    precisions = sorted({one[0] for one in losses.columns}, key=lambda one: (-len(losses.ranks(one)), one))
    precision = "nf4" if len(losses.ranks("nf4")) >= 3 else next(iter(precisions), None)
    ranks = losses.ranks(precision)
    configurations = [(precision, rank) for rank in ranks]
    if len(ranks) < 3 or contrast(losses, dict.fromkeys(configurations, 1)) is None:
        return not_measured(name, "it takes the perplexity at three ranks of one precision and seed")
    best = best_of(results, configurations)[1]
    last = ranks[-1]
    rest = [rank for rank in ranks if rank != best]

    def behind(rank: int, alpha: float = ALPHA):
        return contrast(losses, {(precision, rank): 1, (precision, best): -1}, alpha)

    place = min([best] + [rank for rank in rest if behind(rank).estimate <= behind(rank).standard_error])
    end = contrast(losses, {(precision, ranks[-2]): 1, (precision, last): -1})
    if all(behind(rank, ALPHA / len(rest)).low <= 0 for rank in rest):
        verdict, word, place = INCONCLUSIVE, "flat within noise: no rank differs from the best", None
    elif end.low > 0:
        verdict, word, place = CONTRADICTED, f"no knee up to r = {last}: the loss still falls beyond noise there", None
    elif place == last:
        verdict, word, place = INCONCLUSIVE, f"no knee before r = {last}, yet the last step is within noise", None
    else:
        verdict, word = SUPPORTED, f"a knee at r = {place}, the smallest rank within one standard error of the best"
    curvature = curvature_knee(ranks, [loss_of(results, one) for one in configurations])
    bend = f"kneed puts the curvature knee at r = {curvature}" if curvature else "kneed finds no curvature knee"
    sentence = (
        f"{precision}: {word}. The best is r = {best}; the last step, {ranks[-2]} to {last}, changes perplexity by "
        f"{_fallen(end)}; {bend}."
    )
    values = {
        "knee": place,
        "curvature_knee": curvature,
        "best_rank": best,
        "perplexity": {rank: perplexity_of(results, (precision, rank)) for rank in ranks},
        "behind_best_nats": {rank: behind(rank).estimate for rank in rest},
        "standard_error_nats": {rank: behind(rank).standard_error for rank in rest},
    }
    record = interval_record(end, f"nats a token, fall from rank {ranks[-2]} to {last}")
    return claim(name, verdict, sentence, results.runs(*configurations), values, record)


def curvature_knee(ranks: list[int], losses: list[float]) -> int | None:
    """The rank where a falling, convex curve bends most, as kneed finds it over the ranks themselves; None if nowhere.

    Of three ranks it can only be the middle one, whatever the noise. Satopaa et al., 2011, Finding a "Kneedle".
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = KneeLocator(ranks, losses, curve="convex", direction="decreasing").knee
    return None if found is None else int(found)


def _fall(results: Evidence, low: int, high: int, alpha: float = ALPHA):
    return contrast(results.losses, {("nf4", low): 1, ("nf4", high): -1}, alpha)


def _fallen(fall) -> str:
    """A fall of the loss as the change of perplexity that it is."""
    low, high = -fall.high, -fall.low
    return percents(replace(fall, estimate=-fall.estimate, low=low, high=high))
