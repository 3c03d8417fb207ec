"""Say at which learning rates and in which setting a claim compared its arms; hold it back at an edge of the rates."""

from collections.abc import Collection

from frontier import axes
from frontier.results.claims.claim import INCONCLUSIVE, NOT_MEASURED, Evidence, listing, plain
from frontier.results.configurations import Configuration
from frontier.results.tuning import Tuned


def compared(results: Evidence, one: dict, arms: Collection[Configuration]) -> dict:
    """Return a claim that rests on the arms' quality with what they were compared at in its sentence and values.

    With one learning rate in the study that is all it says. With several it names each arm's best, and where one is at
    an edge of those tried, the rate to add: the verdict is at most INCONCLUSIVE then.
    """
    if one["verdict"] == NOT_MEASURED:
        return one
    sentence = one["sentence"]
    values: dict[str, object] = {}
    if len(results.tuned.rates) < 2:
        sentence = f"{at_one_rate(results.tuned).capitalize()} {_uncapitalised(sentence)}"
    else:
        sentence += f" {best_rates(results.tuned, arms)}."
        values["best_rate"] = {arm.title(): results.tuned.arms[arm].best for arm in arms}
    if len(results.settings) > 1:
        setting = listing(f"{name} {value}" for name, value in results.setting)
        sentence += f" Judged with {setting}; runs at other values are left aside."
        values["setting"] = dict(results.setting)
    return held_back(results.tuned, _with(one, values, sentence=sentence), arms)


def held_back(tuned: Tuned, one: dict, arms: Collection[Configuration]) -> dict:
    """Return a claim that is at most INCONCLUSIVE where the best rate of one of its arms is at an edge of those tried.

    Its sentence then names the rates to add.
    """
    lines = tuned.lines(arms)
    if not lines:
        return one
    sentence = " ".join([one["sentence"], *(f"{line}." for line in lines)])
    if one["verdict"] != INCONCLUSIVE:
        sentence = f"Not settled, since a better rate may lie beyond those tried: {_uncapitalised(sentence)}"
    return _with(one, {"at_an_edge": lines}, sentence=sentence, verdict=INCONCLUSIVE)


def _with(one: dict, values: dict, **changes) -> dict:
    """Return a claim with further values of evidence and other changes."""
    evidence = one["evidence"] | {"values": one["evidence"]["values"] | plain(values)}
    return one | changes | {"evidence": evidence}


def at_one_rate(tuned: Tuned) -> str:
    """Return that all was measured at one learning rate, in words, with a comma behind; which where that is told."""
    return f"at one learning rate, {axes.text(tuned.rates[0])}," if tuned.rates else "at one learning rate,"


def best_rates(tuned: Tuned, arms: Collection[Configuration]) -> str:
    """Return the arms' best rates in words: Each rank at its best rate: 8 at 4e-3 and 16 at 2e-3."""
    by_precision: dict[str, list[str]] = {}
    for arm in arms:
        rate = tuned.arms[arm].best
        words = f"{arm.rank} at {'a rate not told' if rate is None else axes.text(rate)}"
        by_precision.setdefault(arm.precision, []).append(words)
    if len(by_precision) == 1:
        return f"Each rank at its best rate: {listing(*by_precision.values())}"
    return f"Each at its best rate: {'; '.join(f'{name} rank {listing(each)}' for name, each in by_precision.items())}"


def _uncapitalised(sentence: str) -> str:
    """Return a sentence as it goes on after a comma; a name in capitals stays."""
    word = sentence.split()[0]
    return sentence[0].lower() + sentence[1:] if word.istitle() else sentence
