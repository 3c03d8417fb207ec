"""Judge where the next gain would come from: rank, learning rate or steps. docs/findings.md has the claim's rule."""

from dataclasses import dataclass, replace

from frontier import axes
from frontier.results.claims.claim import (
    ALPHA,
    CONTRADICTED,
    INCONCLUSIVE,
    NEGLIGIBLE_LOSS,
    SUPPORTED,
    Evidence,
    best_of,
    claim,
    not_measured,
    percent,
    percents,
)
from frontier.results.claims.last_stretch import last_stretch
from frontier.results.claims.rank import most_ranks
from frontier.results.configurations import Configuration
from frontier.results.contrasts import contrast
from frontier.results.uncertainty import Interval

# The settings of a run's length, by their columns, the one that a study varies.
_LENGTHS = ("epochs", "steps_asked")
# What became of an axis at its end: still falling, at its end (2% more is excluded), or neither; None, not looked at.
_FALLS, _ENDS, _OPEN = "falls", "ends", "open"


@dataclass(frozen=True)
class _Edge:
    """What is known of an axis at its end.

    `words` say it; `state` is one of those above; `change` is the last step's change of validation loss, and `arms`
    those that it compares.
    """

    words: str
    state: str | None = None
    change: Interval | None = None
    arms: tuple[Configuration, ...] = ()


def next_gain(results: Evidence) -> dict:
    """Judge whether validation loss still falls, beyond noise, at the end of what was tried of rank, rate or steps.

    Each of three axes is judged at 5% / 3.
    """
    name = "next_gain"
    edges = {"rank": _rank(results), "learning rate": _rate(results), "steps": _steps(results)}
    if all(edge.state is None for edge in edges.values()):
        words = "; ".join(f"{axis}: {edge.words}" for axis, edge in edges.items())
        return not_measured(name, f"it takes an axis that was looked at ({words})")
    falling = [axis for axis, edge in edges.items() if edge.state == _FALLS]
    falling.sort(key=lambda axis: edges[axis].change.estimate)
    if falling:
        verdict, start = SUPPORTED, f"Validation loss still falls at the end of {' and of '.join(falling)}"
    elif all(edge.state == _ENDS for edge in edges.values()):
        verdict, start = CONTRADICTED, "None of rank, learning rate and steps has 2% or more left at its end"
    else:
        verdict, start = INCONCLUSIVE, "Where the next gain would come from is not told"
    others = [axis for axis in edges if axis not in falling]
    each = "; ".join(f"{axis}: {edges[axis].words}" for axis in [*falling, *others])
    values = {
        axis.replace(" ", "_"): {
            "state": edge.state,
            "last_step_percent": None if edge.change is None else percent(edge.change.estimate),
        }
        for axis, edge in edges.items()
    }
    arms = [arm for edge in edges.values() for arm in edge.arms]
    return claim(name, verdict, f"{start}. {each[0].upper()}{each[1:]}.", results.runs(*arms), values)


def _rank(results: Evidence) -> _Edge:
    """Return what the last step of rank did, of the precision with the most ranks, each at its best rate."""
    ranked = most_ranks(results.arms)
    if len(ranked) < 2:
        return _Edge("one was tried")
    before, last = ranked[-2:]
    change = contrast(results.arms, {last: 1, before: -1}, ALPHA / 3)
    if change is None:
        return _Edge("the last two have no seed in common")
    words = f"{last.precision}'s last step, {before.rank} to {last.rank}, changed perplexity by {percents(change)}"
    state = _state(change)
    if results.tuned.lines([before, last]):
        state, words = _OPEN, f"{words}, but a better learning rate may lie beyond those tried"
    return _Edge(words, state, change, (before, last))


def _rate(results: Evidence) -> _Edge:
    """Return whether the best arm's best rate is at an edge, and what the last step of the rate towards it did."""
    tuned = results.tuned
    arms = [one for one in results.arms.columns if not one.is_base]
    if len(tuned.rates) < 2 or not arms:
        return _Edge("one was tried")
    best = best_of(results.arms, arms)
    arm = tuned.arms[best]
    title, at = best.title(), axes.text(arm.best)
    if arm.edge is None:
        return _Edge(f"{title}, the best, is best at {at}, with worse rates on both sides", _ENDS, None, (best,))
    if arm.edge == "only":
        return _Edge(f"{title}, the best, was tried at {at} alone", _OPEN, None, (best,))
    measured = sorted(arm.losses)
    beside = measured[1] if arm.edge == "lowest" and len(measured) > 1 else measured[max(len(measured) - 2, 0)]
    pair = {replace(best, learning_rate=arm.best): 1, replace(best, learning_rate=beside): -1}
    # The best is picked by the data: each of the others gets its share.
    share = ALPHA / 3 / max(len(measured) - 1, 1)
    change = None if beside == arm.best else contrast(tuned.measured, pair, share)
    words = f"{title}, the best, is best at the {arm.edge} rate tried, {at}: add {axes.text(arm.rate_to_add)}"
    if change is None:
        return _Edge(words, _OPEN, None, (best,))
    words += f"; from {axes.text(beside)} to it perplexity changed by {percents(change)}"
    return _Edge(words, _FALLS if change.high < 0 else _OPEN, change, (best,))


def _steps(results: Evidence) -> _Edge:
    """Return what more steps did, by validation loss where a study varies them, else by the training loss at its end.

    The training loss decides nothing: it says nothing of validation, and a schedule that lowers the rate flattens it.
    """
    lengths = _by_length(results)
    if len(lengths) > 1:
        before, last = lengths[-2:]
        change = contrast(results.tuned.losses, {last: 1, before: -1}, ALPHA / 3)
        if change is not None:
            axis, to = next(pair for pair in last.others if pair[0] in _LENGTHS)
            step = f"{axis.removesuffix('_asked')} {dict(before.others)[axis]} to {to}"
            words = f"under {last.precision} rank {last.rank} the last step, {step}, changed perplexity by"
            return _Edge(f"{words} {percents(change)}", _state(change), change, (before, last))
    arms = [one for one in results.arms.columns if not one.is_base]
    best = best_of(results.arms, arms) if arms else None
    training = None if best is None else last_stretch(results, best)
    if training is None:
        return _Edge("one length was tried, and the training loss of its last fifth was not logged often enough")
    change = training.change
    word = "still fell" if change.high < 0 else "rose" if change.low > 0 else "was level within noise"
    words = (
        f"one length was tried; {best.title()}'s training loss {word}, by {change.estimate:+.4f} nats a token "
        f"({change.low:+.4f} to {change.high:+.4f}) over the last fifth of its steps, which says nothing of validation "
        "and is flattened by a rate that decays: several epochs would tell"
    )
    return _Edge(words, _OPEN, None, (best,))


def _by_length(results: Evidence) -> list[Configuration]:
    """Return the arms that differ in nothing but their length, shortest first: of several such the best's, or none."""
    losses = results.tuned.losses
    groups: dict[Configuration, dict[float, Configuration]] = {}
    for arm in results.tuned.arms:
        for axis, value in arm.others:
            if axis in _LENGTHS:
                others = tuple(pair for pair in arm.others if pair[0] != axis)
                groups.setdefault(replace(arm, others=(*others, (axis, ""))), {})[float(value)] = arm
    several = [by_length for by_length in groups.values() if len(by_length) > 1]
    if not several:
        return []
    best = best_of(losses, [arm for by_length in several for arm in by_length.values()])
    chosen = next(by_length for by_length in several if best in by_length.values())
    return [chosen[length] for length in sorted(chosen)]


def _state(change: Interval) -> str:
    """Return what a last step's change of loss says: it still falls, has 2% or more excluded, or neither."""
    if change.high < 0:
        return _FALLS
    return _ENDS if change.low > -NEGLIGIBLE_LOSS else _OPEN
