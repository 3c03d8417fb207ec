"""Judge what others state and no claim of the study asks. docs/findings.md has each claim's rule."""

import re
from dataclasses import replace

from frontier.results.claims.claim import (
    ALPHA,
    CONTRADICTED,
    INCONCLUSIVE,
    NEGLIGIBLE_LOSS,
    SUPPORTED,
    Evidence,
    claim,
    listing,
    not_measured,
    percent,
    percents,
)
from frontier.results.claims.compared import held_back
from frontier.results.claims.rank import most_ranks
from frontier.results.claims.rates import one_rate, with_level
from frontier.results.configurations import Configuration
from frontier.results.contrasts import contrast

# The last part of the names of an attention's linear layers: q_proj, o_proj, qkv_proj, c_attn, query_key_value ...
_ATTENTION = re.compile(r"([qkvo]|qkv|out)_proj|c_attn|Wqkv|query|key|value|query_key_value")


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


def all_linear(results: Evidence) -> dict:
    """Judge whether adapters on all linear layers do better than on the attention's alone, all else alike."""
    name, losses = "all_linear", results.tuned.losses
    gaps = {pair: contrast(losses, {pair[1]: 1, pair[0]: -1}) for pair in _pairs(results)}
    gaps = {pair: gap for pair, gap in gaps.items() if gap is not None}
    if not gaps:
        reason = "it takes lora.targets with two named sets, all-linear and the attention's layers alone, at one rank"
        return not_measured(name, reason)
    if all(gap.low > 0 for gap in gaps.values()):
        verdict, start = SUPPORTED, "Adapters on the attention alone are behind those on all linear layers"
    elif all(gap.high < NEGLIGIBLE_LOSS for gap in gaps.values()):
        verdict, start = CONTRADICTED, "Adapters on the attention alone are not behind those on all linear layers"
    else:
        verdict, start = INCONCLUSIVE, "Whether adapters on the attention alone are behind is lost in noise"
    each = "; ".join(f"{attention.title()}: {percents(gap)}" for (_, attention), gap in gaps.items())
    values = {"gap_percent": {attention.title(): percent(gap.estimate) for (_, attention), gap in gaps.items()}}
    arms = [arm for pair in gaps for arm in pair]
    one = claim(name, verdict, f"{start}. Perplexity against all linear layers': {each}.", results.runs(*arms), values)
    return held_back(results.tuned, one, arms)


def _pairs(results: Evidence) -> list[tuple[Configuration, Configuration]]:
    """Return the arms on all linear layers, each with one on the attention's alone that is otherwise alike."""
    whole = [name for name, layers in results.targets.items() if layers == "all-linear"]
    attention = [name for name, layers in results.targets.items() if isinstance(layers, list) and _is_attention(layers)]
    pairs = []
    for arm in results.tuned.arms:
        if dict(arm.others).get("targets") in whole:
            for name in attention:
                others = tuple((axis, name if axis == "targets" else value) for axis, value in arm.others)
                pairs.append((arm, replace(arm, others=others)))
    return [pair for pair in pairs if pair[1] in results.tuned.arms]


def _is_attention(layers: list[str]) -> bool:
    """Return whether all the layers that a set names are an attention's."""
    return all(_ATTENTION.fullmatch(layer.rsplit(".", 1)[-1]) for layer in layers)
