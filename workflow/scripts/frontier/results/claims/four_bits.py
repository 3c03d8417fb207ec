"""Withhold claims about NF4 and FP4 whose bases are in 4 bits in name only. docs/findings.md has the rule."""

import pandas as pd

from frontier.results.claims.claim import NOT_MEASURED, Evidence, claim, listing

# The precisions that store 4 bits a weight.
FOUR_BIT = ("nf4", "fp4")
# The least share of the base's parameters in 4 bits with which its runs are evidence of 4 bits: half of it is.
LEAST_SHARE = 0.5
# Claims that speak of NF4.
_OF_NF4 = (
    "nf4_within_budget",
    "nf4_time",
    "nf4_memory",
    "nf4_speedup",
    "nf4_quality_gap",
    "rank_monotone",
    "diminishing_returns",
    "quantization_cost",
)
# Claims that hold precisions against each other.
_ACROSS = ("fp16_best_quality", "recommendation")
# Claims that speak of what their runs have in common.
_OF_RUNS = ("knee", "rate_matters", "best_rate", "rate_rule", "rate_of_rank", "all_linear", "shipping_cost")
# Claims that hold of a base whatever it stores, and say what it stores.
_OF_ANY_BASE = ("recommendation", "training_helped", "overfitting", "next_gain")


def in_name_only(summary: pd.DataFrame) -> dict[str, float]:
    """Return each precision of 4 bits that has less than half of its base in 4 bits, with that share."""
    shares = summary[summary["precision"].isin(FOUR_BIT)].groupby("precision")["four_bit_share"].min().astype(float)
    return shares[shares < LEAST_SHARE].to_dict()


def withhold(results: Evidence, one: dict) -> dict:
    """Return a claim as it is or, where it speaks of 4 bits that are there in name only, as one not measured.

    A recommendation among the ranks of one such base stands, as does what training did to its base; they say what that
    base is.
    """
    found = in_name_only(results.summary)
    shares = {name: share for name, share in found.items() if _speaks_of(results.summary, one, name)}
    if one["verdict"] == NOT_MEASURED or not found:
        return one
    if shares:
        named = listing(name.upper() for name in shares)
        sentence = f"Not measured: only {_told(shares)}, so that these runs say nothing of {named}."
        return claim(one["id"], NOT_MEASURED, sentence, one["evidence"]["runs"], {"four_bit_share": shares})
    if one["id"] in _OF_ANY_BASE:
        return one | {"sentence": f"{one['sentence']} Its base is in 4 bits in name only: {_told(found)}."}
    return one


def _told(shares: dict[str, float]) -> str:
    """Return the shares of precisions in words."""
    each = listing(f"{share:.1%} of the base's parameters in 4 bits under {name}" for name, share in shares.items())
    return f"{each}, embeddings and head aside"


def _speaks_of(summary: pd.DataFrame, one: dict, precision: str) -> bool:
    """Return whether a claim speaks of a precision."""
    if one["id"] in _ACROSS:
        return summary["precision"].nunique() > 1
    if one["id"] in _OF_RUNS:
        return precision in set(summary.loc[summary["run"].isin(one["evidence"]["runs"]), "precision"])
    return one["id"] in _OF_NF4 and precision == "nf4"
