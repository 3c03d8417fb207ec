"""Judge what training did: whether it helped, and whether it overfits. docs/findings.md has each claim's rule."""

from dataclasses import replace

from frontier.results import uncertainty
from frontier.results.claims.claim import (
    ALPHA,
    CONTRADICTED,
    INCONCLUSIVE,
    NEGLIGIBLE_LOSS,
    SUPPORTED,
    Evidence,
    best_of,
    claim,
    listing,
    not_measured,
    percent,
    percent_record,
    percents,
)
from frontier.results.claims.compared import held_back
from frontier.results.claims.last_stretch import Stretch, last_stretch
from frontier.results.claims.rank import most_ranks
from frontier.results.configurations import Configuration
from frontier.results.contrasts import contrast
from frontier.results.uncertainty import Interval

# A list of more configurations than this is no sentence; the evidence has them all.
_NAMED = 4


def training_helped(results: Evidence) -> dict:
    """Judge whether every arm, at its best rate, has a lower loss than its own base before training, beyond noise.

    Each of k arms is compared at 5% / k.
    """
    name, tuned = "training_helped", results.tuned
    pairs = {arm: {arm: 1, Configuration.base(arm.precision): -1} for arm in tuned.arms}
    pairs = {arm: pair for arm, pair in pairs.items() if set(pair) <= set(tuned.losses.columns)}
    if not pairs:
        return not_measured(name, "it takes the perplexity of a trained run and of its base before training")
    changes = {arm: contrast(tuned.losses, pair, ALPHA / len(pairs)) for arm, pair in pairs.items()}
    better = [arm for arm, change in changes.items() if change.high < 0]
    worse = [arm for arm, change in changes.items() if change.low > 0]
    level = [arm for arm in changes if arm not in better and arm not in worse]
    others = CONTRADICTED if worse and not better else INCONCLUSIVE
    verdict = SUPPORTED if len(better) == len(changes) else others
    count = "one configuration" if len(changes) == 1 else f"{len(changes)} configurations"
    parts = [f"Training helped {len(better)} of {count}" if better else f"Training helped none of {count}"]
    parts += [f"worse than before training: {_named(tuned, worse)}"] if worse else []
    parts += [f"not told apart from before training: {_named(tuned, level)}"] if level else []
    most, least = min(changes, key=_estimate(changes)), max(changes, key=_estimate(changes))
    each = [f"{_title(tuned, most)}'s perplexity changed by {percents(changes[most])}"]
    each += [f"{_title(tuned, least)}'s by {percents(changes[least])}"] if least != most else []
    share = f", each interval at 5% / {len(changes)}" if len(changes) > 1 else ""
    values = {
        "change_percent": {arm.title(): percent(change.estimate) for arm, change in changes.items()},
        "worse": [arm.title() for arm in worse],
        "not_told_apart": [arm.title() for arm in level],
    }
    record = percent_record(changes[most]) | {"level": 1 - ALPHA / len(changes), "of": most.title()}
    sentence = f"{'; '.join(parts)}. Against its own untrained base, {' and '.join(each)}{share}."
    one = claim(name, verdict, sentence, results.runs(*changes), values, record)
    # What helped at the rates tried helped, whatever lies beyond them.
    return held_back(tuned, one, worse) if verdict == CONTRADICTED else one


def overfitting(results: Evidence) -> dict:
    """Judge whether an arm's validation loss ends above its training loss, beyond noise, and what rank does to that.

    The training loss is the mean over the last fifth of the steps. Each of k arms is judged at 5% / k.
    """
    name, losses = "overfitting", results.arms
    arms = [one for one in losses.columns if not one.is_base]
    trainings = {arm: last_stretch(results, arm) for arm in arms}
    known = {arm: training for arm, training in trainings.items() if training is not None}
    if not known:
        reason = "it takes a validation loss, and the training loss of several steps in the last fifth of them"
        return not_measured(name, reason)
    gaps = {arm: _gap(results, arm, training, ALPHA / len(known)) for arm, training in known.items()}
    over = [arm for arm, gap in gaps.items() if gap.low > 0]
    at_most = {arm: _gap(results, arm, training, ALPHA).high for arm, training in known.items()}
    if over:
        verdict, start = SUPPORTED, "Validation loss ends above training loss beyond noise"
    elif max(at_most.values()) < NEGLIGIBLE_LOSS:
        verdict, start = CONTRADICTED, "Validation loss does not end above training loss by 2% or more"
    else:
        verdict, start = INCONCLUSIVE, "Whether validation loss ends above training loss is lost in noise"
    best, widest = best_of(losses, gaps), max(gaps, key=_estimate(gaps))
    each = [f"{_title(results.tuned, best)}, the best, by {percents(gaps[best])}"]
    each += [f"{_title(results.tuned, widest)} by {percents(gaps[widest])}"] if widest != best else []
    words, widening = _widening(results, known)
    values = {"gap_percent": {arm.title(): percent(gap.estimate) for arm, gap in gaps.items()}} | widening
    record = percent_record(gaps[widest]) | {"level": 1 - ALPHA / len(gaps), "of": widest.title()}
    sentence = (
        f"{start}, in perplexity: {' and '.join(each)}.{words} That one set is harder than the other counts in it, and "
        "validation is measured at the end alone, so that this cannot tell whether fewer steps would have been better."
    )
    return claim(name, verdict, sentence, results.runs(*gaps), values, record)


def _gap(results: Evidence, arm: Configuration, training: Stretch, alpha: float) -> Interval:
    """Return how much an arm's validation loss is above its training loss, nats a token."""
    validation = contrast(results.arms, {arm: 1}, alpha)
    return uncertainty.with_error(_moved(validation, -training.loss), training.error, alpha)


def _widening(results: Evidence, known: dict[Configuration, Stretch]) -> tuple[str, dict]:
    """Return what rank does to the gap, as a sentence and as values, where two ranks can be compared.

    Runs of a seed see the same examples in the same order, so that training losses are paired step by step.
    """
    ranked = [arm for arm in most_ranks(results.arms) if arm in known]
    low, high = (ranked[0], ranked[-1]) if len(ranked) > 1 else (None, None)
    validation = contrast(results.arms, {high: 1, low: -1}) if low else None
    training = known[high].less(known[low]) if low else None
    if validation is None or training is None:
        return "", {}
    change = uncertainty.with_error(_moved(validation, -training.loss), training.error)
    word = "widens" if change.low > 0 else "narrows" if change.high < 0 else "is not told to change"
    reach = f"from rank {low.rank} to {high.rank} under {low.precision}"
    return f" The gap {word} {reach}: {percents(change)}.", {"widening_percent": percent(change.estimate)}


def _moved(interval: Interval, by: float) -> Interval:
    """Return an interval with its estimate and both ends moved."""
    return replace(interval, estimate=interval.estimate + by, low=interval.low + by, high=interval.high + by)


def _estimate(intervals: dict[Configuration, Interval]):
    """Return what tells the estimate of a configuration."""
    return lambda one: intervals[one].estimate


def _title(tuned, arm: Configuration) -> str:
    """Return an arm's name in a sentence, with its best rate where several were tried."""
    return (tuned.arms[arm].at_best if len(tuned.rates) > 1 else arm).title()


def _named(tuned, arms: list[Configuration]) -> str:
    """Return the names of arms in a sentence, the first few of many."""
    names = [_title(tuned, arm) for arm in arms[:_NAMED]]
    return listing([*names, f"{len(arms) - _NAMED} more"] if len(arms) > _NAMED else names)
