"""What NF4 costs in quality against 16 bits: claims 4, 5 and 11. docs/findings.md has each claim's rule."""

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
    title,
)
from frontier.results.contrasts import BASE, contrast


def fp16_best_quality(results: Evidence) -> dict:
    """Whether a 16-bit configuration beats all others, or one of the others beats every 16-bit one."""
    name, losses, sixteen = "fp16_best_quality", results.losses, results.sixteen_bit
    ours = [(sixteen, rank) for rank in losses.ranks(sixteen)]
    others = [one for one in losses.columns if one[1] != BASE and one[0] != sixteen]
    if not ours or not others:
        return not_measured(name, "it takes the perplexity of a 16-bit run and of one at another precision")
    if any(contrast(losses, {one: 1, other: -1}) is None for one in ours for other in others):
        return not_measured(name, "the 16-bit runs and the others have no seed in common")

    def beats(one, rivals, tries: int) -> bool:
        # The best of several is picked by the data: each of the tries gets its share of the 5%.
        return all(contrast(losses, {one: 1, rival: -1}, ALPHA / tries).high < 0 for rival in rivals)

    best, rival = best_of(results, ours), best_of(results, others)
    if any(beats(one, others, len(ours)) for one in ours):
        verdict, word = SUPPORTED, "the lowest of all"
    elif any(beats(other, ours, len(others)) for other in others):
        verdict, word = CONTRADICTED, "not the lowest"
    else:
        verdict, word = INCONCLUSIVE, "not told apart from all others"
        rival = best_of(results, [one for one in others if not beats(best, [one], len(ours))])
    gap = contrast(losses, {rival: 1, best: -1})
    sentence = (
        f"The best 16-bit perplexity, {perplexity_of(results, best):.3f} ({title(best)}), is {word}: "
        f"{title(rival)}'s is {perplexity_of(results, rival):.3f}, {percents(gap)}"
    )
    values = {"perplexity": {title(one): perplexity_of(results, one) for one in [*ours, *others]}}
    if verdict == INCONCLUSIVE and gap.low > 0:
        strict = contrast(losses, {rival: 1, best: -1}, ALPHA / len(ours))
        values["picked"] = {"of": len(ours), "low_percent": percent(strict.low), "high_percent": percent(strict.high)}
        ends = f"{percent(strict.low):+.1f}% to {percent(strict.high):+.1f}%"
        sentence += f", but {ends} at 5% / {len(ours)}, since it is the best of {len(ours)}"
    runs = results.runs(*ours, *others)
    return claim(name, verdict, f"{sentence}.", runs, values, percent_record(gap))


def nf4_quality_gap(results: Evidence) -> dict:
    """Whether NF4 comes within noise of 16-bit at the same rank, by an interval that would not hide a gap either."""
    name, losses, sixteen = "nf4_quality_gap", results.losses, results.sixteen_bit
    gaps = {rank: contrast(losses, {("nf4", rank): 1, (sixteen, rank): -1}) for rank in losses.ranks("nf4")}
    gaps = {rank: gap for rank, gap in gaps.items() if gap is not None}
    if not gaps:
        return not_measured(name, "it takes the perplexity of an NF4 and a 16-bit run of the same rank and seed")
    # Some rank of several is picked by the data: to exclude a gap each gets its share of the 5%.
    alpha = ALPHA / len(gaps)
    most = {rank: contrast(losses, {("nf4", rank): 1, (sixteen, rank): -1}, alpha).high for rank in gaps}
    within = [rank for rank, gap in gaps.items() if gap.low <= 0 and most[rank] < NEGLIGIBLE_LOSS]
    if within:
        verdict, start = SUPPORTED, f"NF4 comes within noise of {sixteen} at rank {listing(within)}"
    elif all(gap.low > 0 for gap in gaps.values()):
        verdict, start = CONTRADICTED, f"NF4 stays behind {sixteen} at every rank"
    else:
        wide = [rank for rank, gap in gaps.items() if gap.low <= 0]
        verdict = INCONCLUSIVE
        start = f"NF4 cannot be told from {sixteen} at rank {listing(wide)}, but the noise there could hide 2% or more"
        start += f", at 5% / {len(gaps)} for each rank" if len(gaps) > 1 else ""
    each = "; ".join(f"rank {rank}: {percents(gap)}" for rank, gap in gaps.items())
    smallest = min(within or gaps, key=lambda rank: gaps[rank].estimate)
    return claim(
        name,
        verdict,
        f"{start}. NF4's perplexity against {sixteen}'s: {each}.",
        results.runs(*[(precision, rank) for rank in gaps for precision in ("nf4", sixteen)]),
        {"ranks_within_noise": within, "gap_percent": {rank: percent(gap.estimate) for rank, gap in gaps.items()}},
        percent_record(gaps[smallest]) | {"rank": smallest},
    )


def quantization_cost(results: Evidence) -> dict:
    """What NF4 takes from the base model before training, and the share of it that training wins back."""
    name, losses, sixteen = "quantization_cost", results.losses, results.sixteen_bit
    before = contrast(losses, {("nf4", BASE): 1, (sixteen, BASE): -1})
    if before is None:
        return not_measured(name, "it takes the perplexity of the untrained base model under NF4 and in 16 bits")
    if before.low > 0:
        verdict, word = SUPPORTED, "costs the untrained model"
    elif before.high < NEGLIGIBLE_LOSS:
        verdict, word = CONTRADICTED, "costs the untrained model nothing that matters:"
    else:
        verdict, word = INCONCLUSIVE, "may or may not cost the untrained model:"
    bases = {precision: perplexity_of(results, (precision, BASE)) for precision in (sixteen, "nf4")}
    values = {"base_perplexity": bases}
    sentence = (
        f"NF4 {word} {percents(before)} in perplexity ({bases[sixteen]:.3f} in {sixteen}, {bases['nf4']:.3f} in NF4)."
    )
    ranks = [rank for rank in losses.ranks("nf4") if contrast(losses, _gap(sixteen, rank)) is not None]
    if ranks:
        rank = ranks[-1]
        after = contrast(losses, _gap(sixteen, rank))
        values["rank"], values["gap_after_percent"] = rank, percent(after.estimate)
        sentence += f" After training at rank {rank} the gap is {percents(after)}"
        if verdict == SUPPORTED:
            share, low, high = recovered(results, sixteen, rank)
            values["recovered_share"] = {"estimate": share, "low": low, "high": high}
            sentence += f": training recovers {share:.0%} of it ({low:.0%} to {high:.0%})"
        sentence += "."
    runs = results.runs(*[(precision, rank) for rank in ranks[-1:] for precision in (sixteen, "nf4")])
    return claim(name, verdict, sentence, runs, values, percent_record(before))


def recovered(results: Evidence, sixteen: str, rank: int) -> tuple[float, float, float]:
    """The share of NF4's cost in nats that training recovers, with an interval.

    The share is a ratio of contrasts; its error is that of the linear contrast which is nought at the estimate.
    """
    before = contrast(results.losses, {("nf4", BASE): 1, (sixteen, BASE): -1}).estimate
    left = contrast(results.losses, _gap(sixteen, rank)).estimate / before
    line = contrast(results.losses, _gap(sixteen, rank) | {("nf4", BASE): -left, (sixteen, BASE): left})
    return 1 - left, 1 - left - line.high / before, 1 - left - line.low / before


def _gap(sixteen: str, rank: int) -> dict:
    return {("nf4", rank): 1, (sixteen, rank): -1}
