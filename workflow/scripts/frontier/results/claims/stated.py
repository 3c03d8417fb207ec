"""Judge what others state and no claim of the study asks. docs/findings.md has each claim's rule."""

from frontier.results.claims.claim import (
    ALPHA,
    CONTRADICTED,
    INCONCLUSIVE,
    SUPPORTED,
    Evidence,
    claim,
    listing,
    not_measured,
)
from frontier.results.claims.compared import held_back
from frontier.results.claims.rank import most_ranks
from frontier.results.claims.rates import one_rate, with_level


def rate_of_rank(results: Evidence) -> dict:
    """Judge whether the best learning rate is the same at every rank, of the precision with the most ranks.

    It is where the arms' rates that are not told apart from the best are one rate, the same in all; it is not where two
    arms have none in common.
    """
    name, tuned = "rate_of_rank", results.tuned
    if reason := one_rate(results):
        return not_measured(name, reason)
    ranked = [arm for arm in most_ranks(results.arms) if len(tuned.arms[arm].losses) > 1]
    if len(ranked) < 2:
        return not_measured(name, "it takes the perplexity at two ranks of one precision, each at several rates")
    # All sets together hold the best rates: each has its share of the 5%.
    level = {arm: tuned.level_with_best(arm, ALPHA / len(ranked)) for arm in ranked}
    sets = [set(rates) for rates in level.values()]
    if any(one.isdisjoint(other) for one in sets for other in sets):
        verdict, word = CONTRADICTED, "moves with rank"
    elif all(one == sets[0] and len(one) == 1 for one in sets):
        verdict, word = SUPPORTED, "is the same at every rank"
    else:
        verdict, word = INCONCLUSIVE, "cannot be told to move with rank, nor to stay"
    each = listing(f"rank {arm.rank}: {with_level(tuned.arms[arm].best, level[arm])}" for arm in ranked)
    sentence = f"Under {ranked[0].precision} the best learning rate {word}, from {each}."
    values = {"level": {arm.title(): level[arm] for arm in ranked}}
    return held_back(tuned, claim(name, verdict, sentence, results.runs(*ranked), values), ranked)
