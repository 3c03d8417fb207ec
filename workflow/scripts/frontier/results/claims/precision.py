"""Judge what NF4 costs in quality against 16 bits. docs/findings.md has each claim's rule."""

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
    perplexity_of,
    verdict_of,
)
from frontier.results.claims.compared import compared
from frontier.results.configurations import Configuration
from frontier.results.contrasts import Losses, contrast
from frontier.results.uncertainty import Interval


def fp16_best_quality(results: Evidence) -> dict:
    """Judge whether a 16-bit configuration beats all others, or one of the others beats every 16-bit one."""
    name, losses, sixteen = "fp16_best_quality", results.arms, results.sixteen_bit
    ours = losses.trained(sixteen)
    others = [one for one in losses.columns if not one.is_base and one.precision != sixteen]
    if not ours or not others:
        return not_measured(name, "it takes the perplexity of a 16-bit run and of one at another precision")
    if any(contrast(losses, {one: 1, other: -1}) is None for one in ours for other in others):
        return not_measured(name, "the 16-bit runs and the others have no seed in common")
    best, rival = best_of(losses, ours), best_of(losses, others)
    if any(_beats(losses, one, others, len(ours)) for one in ours):
        verdict, word = SUPPORTED, "the lowest of all"
    elif any(_beats(losses, other, ours, len(others)) for other in others):
        verdict, word = CONTRADICTED, "not the lowest"
    else:
        verdict, word = INCONCLUSIVE, "not told apart from all others"
        rival = best_of(losses, [one for one in others if not _beats(losses, best, [one], len(ours))])
    gap = contrast(losses, {rival: 1, best: -1})
    sentence = (
        f"The best 16-bit perplexity, {perplexity_of(losses, best):.3f} ({best.title()}), is {word}: "
        f"{rival.title()}'s is {perplexity_of(losses, rival):.3f}, {percents(gap)}"
    )
    values = {"perplexity": {one.title(): perplexity_of(losses, one) for one in [*ours, *others]}}
    if verdict == INCONCLUSIVE and gap.low > 0:
        strict = contrast(losses, {rival: 1, best: -1}, ALPHA / len(ours))
        values["picked"] = {"of": len(ours), "low_percent": percent(strict.low), "high_percent": percent(strict.high)}
        ends = f"{percent(strict.low):+.1f}% to {percent(strict.high):+.1f}%"
        sentence += f", but {ends} at 5% / {len(ours)}, since it is the best of {len(ours)}"
    runs = results.runs(*ours, *others)
    one = claim(name, verdict, f"{sentence}.", runs, values, percent_record(gap))
    return compared(results, one, [*ours, *others])


def nf4_quality_gap(results: Evidence) -> dict:
    """Judge whether NF4 comes within noise of 16-bit at the same rank.

    The interval must exclude a gap of 2% too, so that noise which could hide one is no support.
    """
    name, sixteen = "nf4_quality_gap", results.sixteen_bit
    gaps = _gaps(results.arms, sixteen)
    if not gaps:
        return not_measured(name, "it takes the perplexity of an NF4 and a 16-bit run of the same rank and seed")
    # Some rank of several is picked by the data: to exclude a gap each gets its share of the 5%.
    most = {one: gap.high for one, gap in _gaps(results.arms, sixteen, ALPHA / len(gaps)).items()}
    within = [one for one, gap in gaps.items() if gap.low <= 0 and most[one] < NEGLIGIBLE_LOSS]
    wide = [one for one, gap in gaps.items() if gap.low <= 0]
    if within:
        verdict, start = SUPPORTED, f"NF4 comes within noise of {sixteen} at rank {_ranks(within)}"
    elif not wide:
        verdict, start = CONTRADICTED, f"NF4 stays behind {sixteen} at every rank"
    else:
        verdict = INCONCLUSIVE
        start = f"NF4 cannot be told from {sixteen} at rank {_ranks(wide)}, but the noise there could hide 2% or more"
        start += f", at 5% / {len(gaps)} for each rank" if len(gaps) > 1 else ""
    each = "; ".join(f"rank {one.rank}: {percents(gap)}" for one, gap in gaps.items())
    smallest = min(within or gaps, key=lambda one: gaps[one].estimate)
    arms = [*gaps, *(one.at(sixteen) for one in gaps)]
    values = {
        "ranks_within_noise": [one.rank for one in within],
        "gap_percent": {one.rank: percent(gap.estimate) for one, gap in gaps.items()},
    }
    record = percent_record(gaps[smallest]) | {"rank": smallest.rank}
    sentence = f"{start}. NF4's perplexity against {sixteen}'s: {each}."
    return compared(results, claim(name, verdict, sentence, results.runs(*arms), values, record), arms)


def quantization_cost(results: Evidence) -> dict:
    """Judge what NF4 takes from the base model before training; say what share of it training wins back."""
    name, losses, sixteen = "quantization_cost", results.arms, results.sixteen_bit
    base = Configuration.base("nf4")
    before = _gap(losses, base, sixteen)
    if before is None:
        return not_measured(name, "it takes the perplexity of the untrained base model under NF4 and in 16 bits")
    verdict = verdict_of(before, NEGLIGIBLE_LOSS)
    words = {
        SUPPORTED: "costs the untrained model",
        CONTRADICTED: "costs the untrained model nothing that matters:",
        INCONCLUSIVE: "may or may not cost the untrained model:",
    }
    bases = {one.precision: perplexity_of(losses, one) for one in (base.at(sixteen), base)}
    values = {"base_perplexity": bases}
    sentence = (
        f"NF4 {words[verdict]} {percents(before)} in perplexity "
        f"({bases[sixteen]:.3f} in {sixteen}, {bases['nf4']:.3f} in NF4)."
    )
    one = claim(name, verdict, sentence, (), values, percent_record(before))
    gaps = _gaps(losses, sixteen)
    return _with_what_is_left(results, one, *list(gaps.items())[-1]) if gaps else one


def _with_what_is_left(results: Evidence, one: dict, trained: Configuration, after: Interval) -> dict:
    """Return the claim of NF4's cost with the gap that is left after training an NF4 arm, and its share if it is told.

    The verdict is of the untrained models, and stands whatever the rates were.
    """
    sixteen, arms = results.sixteen_bit, [trained, trained.at(results.sixteen_bit)]
    left = {"rank": trained.rank, "gap_after_percent": percent(after.estimate)}
    tail = f"the gap is {percents(after)}"
    if one["verdict"] == SUPPORTED:
        share, low, high = recovered(results.arms, trained, sixteen)
        left["recovered_share"] = {"estimate": share, "low": low, "high": high}
        tail += f": training recovers {share:.0%} of it ({low:.0%} to {high:.0%})"
    words = compared(
        results, claim(one["id"], INCONCLUSIVE, f"after training at rank {trained.rank} {tail}.", (), left), arms
    )
    start, *rest = words["sentence"]
    values = one["evidence"]["values"] | words["evidence"]["values"]
    evidence = one["evidence"] | {"runs": results.runs(*arms), "values": values}
    return one | {"sentence": f"{one['sentence']} {start.upper()}{''.join(rest)}", "evidence": evidence}


def recovered(losses: Losses, trained: Configuration, sixteen: str) -> tuple[float, float, float]:
    """Return the share of NF4's cost in nats that training recovers, and the ends of its interval.

    `trained` is the NF4 configuration. The share is a ratio of contrasts; its error is that of the linear contrast
    which is nought at the estimate.
    """
    base = Configuration.base("nf4")
    before = _gap(losses, base, sixteen).estimate
    left = _gap(losses, trained, sixteen).estimate / before
    weights = {trained: 1, trained.at(sixteen): -1, base: -left, base.at(sixteen): left}
    line = contrast(losses, weights)
    return 1 - left, 1 - left - line.high / before, 1 - left - line.low / before


def _beats(losses: Losses, one: Configuration, rivals: list[Configuration], tries: int) -> bool:
    """Return whether a configuration's loss is below each rival's beyond noise.

    The best of several is picked by the data: each of the `tries` gets its share of the 5%.
    """
    return all(contrast(losses, {one: 1, rival: -1}, ALPHA / tries).high < 0 for rival in rivals)


def _gaps(losses: Losses, sixteen: str | None, alpha: float = ALPHA) -> dict[Configuration, Interval]:
    """Return how far each trained NF4 configuration is behind the same one in 16 bits, where both were measured."""
    gaps = {one: _gap(losses, one, sixteen, alpha) for one in losses.trained("nf4")}
    return {one: gap for one, gap in gaps.items() if gap is not None}


def _gap(losses: Losses, one: Configuration, sixteen: str | None, alpha: float = ALPHA) -> Interval | None:
    """Return how much higher an NF4 configuration's loss is than that of the same one in 16 bits, nats a token."""
    return contrast(losses, {one: 1, one.at(sixteen): -1}, alpha)


def _ranks(configurations: list[Configuration]) -> str:
    return listing(one.rank for one in configurations)
