"""Made-up studies of several learning rates, and a case of every verdict of the claims about the rate."""

import math

from tables import curve, row

RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
FALLING = {8: 4.0, 16: 3.3, 32: 3.1}


def tried(
    precision: str, rank: int, level: float, best: float, rates=RATES, seeds=(0,), steep: float = 0.02, **changes
) -> list[dict]:
    """Rows of an arm: `level` is its perplexity at its best rate, a step of two off it is `steep` of that more."""
    other = "".join(f"-{name}{changes[name]}" for name in ("alpha", "rslora", "epochs") if name in changes)
    return [
        row(
            precision,
            rank,
            seed,
            level * (1 + steep * math.log2(rate / best) ** 2),
            **{"run": f"{precision}-r{rank}-s{seed}-lr{rate:g}{other}", "learning_rate": rate} | changes,
        )
        for rate in rates
        for seed in seeds
    ]


def ranked(bests: dict[int, float], levels: dict[int, float], precision: str = "nf4", **changes) -> list[dict]:
    """Rows of several ranks of one precision: each one's best rate, and its perplexity there."""
    return [one for rank, best in bests.items() for one in tried(precision, rank, levels[rank], best, **changes)]


def ruled(bests: dict[str, float], axis: str = "alpha", **changes) -> list[dict]:
    """Rows of one rank: each value of a further axis with its best rate."""
    return [one for value, best in bests.items() for one in tried("nf4", 8, 3.0, best, **changes | {axis: value})]


LEVEL = {8: 3.0, 16: 3.0, 32: 3.0}
QUIET = {"noise": 0.02}

# As the cases of test_findings.py: claim, verdict, shape, rows, and what else the table takes.
CASES = [
    ("rate_matters", "supported", "ranks alike", ranked({8: 2e-3, 32: 1e-3}, LEVEL), QUIET),
    ("rate_matters", "contradicted", "rates alike", ranked({8: 2e-3, 32: 2e-3}, FALLING, steep=0.001), QUIET),
    ("rate_matters", "inconclusive", "as much", ranked({8: 2e-3, 32: 2e-3}, {8: 3.24, 32: 3.0}), {"noise": 0.3}),
    ("rate_matters", "inconclusive", "at an edge", ranked({8: 8e-3, 32: 1e-3}, LEVEL), QUIET),
    ("rate_matters", "not_measured", "one rate", curve("nf4", FALLING), {}),
    ("rate_matters", "not_measured", "one rank", tried("nf4", 8, 3.0, 2e-3), QUIET),
    ("best_rate", "supported", "falls", ranked({8: 4e-3, 16: 2e-3, 32: 1e-3}, LEVEL), QUIET),
    ("best_rate", "contradicted", "the same", ranked({8: 2e-3, 16: 2e-3, 32: 2e-3}, LEVEL), QUIET),
    ("best_rate", "contradicted", "rises", ranked({8: 1e-3, 16: 2e-3, 32: 4e-3}, LEVEL), QUIET),
    ("best_rate", "inconclusive", "noise", ranked({8: 4e-3, 32: 2e-3}, LEVEL, steep=0.001), {"noise": 0.3}),
    ("best_rate", "inconclusive", "at an edge", ranked({8: 8e-3, 32: 1e-3}, LEVEL), QUIET),
    ("best_rate", "not_measured", "one rate", curve("nf4", FALLING), {}),
    ("best_rate", "not_measured", "one rank", tried("nf4", 8, 3.0, 2e-3), QUIET),
    ("rate_rule", "supported", "alpha moves it", ruled({"16": 4e-3, "32": 1e-3}), QUIET),
    ("rate_rule", "supported", "rslora moves it", ruled({"false": 4e-3, "true": 1e-3}, "rslora"), QUIET),
    ("rate_rule", "contradicted", "alpha leaves it", ruled({"16": 2e-3, "32": 2e-3}), QUIET),
    ("rate_rule", "inconclusive", "noise", ruled({"16": 4e-3, "32": 2e-3}, steep=0.001), {"noise": 0.3}),
    ("rate_rule", "inconclusive", "at an edge", ruled({"16": 8e-3, "32": 1e-3}), QUIET),
    ("rate_rule", "not_measured", "no rule is an axis", ranked({8: 2e-3, 32: 1e-3}, LEVEL), QUIET),
    ("rate_rule", "not_measured", "another axis", ruled({"1": 4e-3, "2": 1e-3}, "epochs"), QUIET),
]
