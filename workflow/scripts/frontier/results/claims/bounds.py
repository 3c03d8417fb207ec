"""Say what holds a recommendation back, each in a line, and what would settle it. docs/findings.md has the rule."""

from frontier.results.claims.choice import Choice, Place
from frontier.results.claims.claim import NEGLIGIBLE_LOSS, percent
from frontier.results.claims.limits import near_limit
from frontier.results.configurations import Configuration, configurations_of
from frontier.results.contrasts import contrast
from frontier.results.settling import Needed, needed
from frontier.results.uncertainty import Interval

# With fewer examples an interval holds the truth less often than it says: docs/uncertainty.md.
FEWEST_EXAMPLES = 100
# With two seeds, Student's t is so large that little is told apart.
SEEDS = 3


def bounds(here: Place, choice: Choice, allowed: list[Configuration]) -> list[str]:
    """Return what holds back the recommendation of a trained configuration, each in a line; nothing where all is well.

    The lines about learning rates at an edge of those tried come last.
    """
    lines = [few_examples(here), _seeds(here, choice), _untrained(here, choice), _imprecise(here, choice)]
    apart = [here.title(one) for one, behind in choice.others.items() if behind is None]
    if apart:
        lines.append(f"it shares no seed with {', '.join(apart)}, so that they are not compared")
    lines.append(near_limit(here.losses, choice.chosen, here.runs(choice.chosen), here.limits))
    lines.append(_rank_edge(here, choice.best))
    return [*filter(None, lines), *here.tuned.lines(allowed)]


def few_examples(here: Place) -> str | None:
    """Return that the validation examples are few, where they are."""
    count = len(here.losses.tokens)
    if count >= FEWEST_EXAMPLES:
        return None
    return f"{count} validation examples are few: intervals hold what they say from {FEWEST_EXAMPLES} on"


def _seeds(here: Place, choice: Choice) -> str | None:
    """Return that it was trained with one seed, where it was."""
    if len(here.losses.columns[choice.chosen]) > 1:
        return None
    return f"it was trained with one seed, and nobody knows what another would give: add seeds up to {SEEDS}"


def _untrained(here: Place, choice: Choice) -> str | None:
    """Return that it is not known to be better than the untrained models, where it is not."""
    if not choice.bases:
        return "the untrained model was not measured, so that nobody knows whether training helped"
    gaps = {one: choice.others[one] for one in choice.bases}
    level = [here.title(one) for one, gap in gaps.items() if gap is not None and gap.high >= 0]
    return f"it is not told apart from {' and '.join(level)}" if level else None


def _imprecise(here: Place, choice: Choice) -> str | None:
    """Return by how much another may be better, where that is more than 2%."""
    if choice.rival is None or choice.most_behind <= NEGLIGIBLE_LOSS:
        return None
    return f"{here.title(choice.rival)} may be better by as much as {_amount(choice.most_behind)}"


def _amount(nats: float) -> str:
    """Return a difference of losses in words, in percent; one beyond a factor of two as that."""
    return f"{percent(nats):.1f}%" if nats < 1 else "more than half"


def _rank_edge(here: Place, best: Configuration) -> str | None:
    """Return that the best is of the highest or the lowest rank tried, and which rank to add, where it is."""
    several = {one.arm for one in configurations_of(here.results.summary)}
    ranks = {one.rank for one in several if (one.precision, one.others) == (best.precision, best.others)}
    if best.is_base or len(ranks) < 2:
        return None
    edges = {max(ranks): ("highest", 2 * best.rank), min(ranks): ("lowest", best.rank // 2)}
    edge, more = edges.get(best.rank, ("", 0))
    return f"the best, {here.title(best)}, is of the {edge} rank tried: add {more} to ranks" if more else None


def settled_by(here: Place, choice: Choice) -> tuple[str, Needed] | None:
    """Return what would tell the chosen one from its rival or, with less, hold what that is ahead to 2%; and in words.

    The rival is the candidate that may be better by the most. None where none may, or where nothing would do.
    """
    rival = choice.rival
    behind = None if rival is None else choice.others[rival]
    if rival is None or behind is None or behind.high <= 0:
        return None
    # The interval's upper end is what may come down; turned round, it is the lower one.
    turned = {rival: 1.0, choice.chosen: -1.0}
    pair = turned if behind.estimate <= 0 else {choice.chosen: 1.0, rival: -1.0}
    title = here.title(rival)
    apart = needed(here.losses, pair, abs(behind.estimate), choice.share) if behind.low <= 0 else None
    hold = needed(here.losses, turned, NEGLIGIBLE_LOSS - behind.estimate, choice.share)
    if behind.high > NEGLIGIBLE_LOSS and hold is not None and (apart is None or _less(hold, apart)):
        return f"{hold.words} would show {title} to be at most 2% better", hold
    return None if apart is None else (f"{apart.words} would tell it from {title}", apart)


def _less(one: Needed, other: Needed) -> bool:
    """Return whether one asks for less than the other: examples before seeds, then fewer of them."""
    return (one.examples is None, one.examples or one.seeds or 0) < (
        other.examples is None,
        other.examples or other.seeds or 0,
    )


def against_untrained(here: Place, one: Configuration) -> Interval | None:
    """Return how far a trained configuration is from its own base before training; None where that is not known."""
    base = Configuration.base(one.precision)
    return contrast(here.losses, {one: 1, base: -1}) if base in here.losses.columns else None
