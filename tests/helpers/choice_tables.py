"""Made-up studies of each verdict of the recommendation: what a user should be told to take, and how firmly."""

from tables import curve, row

# Perplexities before training.
BASES = {"bases": {"fp16": 5.0, "nf4": 5.4}}
SOUND = {"noise": 0.02, "examples": 400} | BASES
# The best rank is in the middle: a lower and a higher one are worse beyond noise.
PEAK = {8: 3.4, 16: 3.0, 32: 3.2}
THREE = (0, 1, 2)
WORSE = {8: 6.0, 16: 7.0, 32: 9.0}
# Two ranks that differ by 1% between two that are worse.
NEAR = {4: 3.4, 8: 3.03, 16: 3.0, 32: 3.2}
DESTROYED = 1.1e10


def clocked(rows: list[dict]) -> list[dict]:
    """Rows of which each takes more memory than the one of the next lower rank."""
    return [one | {"peak_memory_gib": 4 + one["rank"] / 32} for one in rows]


# As the cases of test_findings.py: claim, verdict, shape, rows, and what else the table takes.
CASES = [
    ("recommendation", "supported", "a peak, three seeds", curve("nf4", PEAK, THREE), SOUND),
    ("recommendation", "supported", "told apart at 400", clocked(curve("nf4", NEAR, THREE)), SOUND),
    ("recommendation", "inconclusive", "one seed", curve("nf4", PEAK), SOUND),
    ("recommendation", "inconclusive", "12 examples", curve("nf4", PEAK, THREE), SOUND | {"examples": 12}),
    ("recommendation", "inconclusive", "no base", curve("nf4", PEAK, THREE), {"noise": 0.02}),
    ("recommendation", "inconclusive", "the highest rank", curve("nf4", {8: 3.4, 16: 3.0}, THREE), SOUND),
    ("recommendation", "inconclusive", "the lowest rank", curve("nf4", {8: 3.0, 16: 3.4}, THREE), SOUND),
    ("recommendation", "inconclusive", "noise of 2%", curve("nf4", NEAR, THREE), SOUND | {"noise": 0.3}),
    ("recommendation", "contradicted", "all worse than the base", curve("nf4", WORSE, THREE), SOUND),
    ("recommendation", "contradicted", "a destroyed model", [row("nf4", 8, 0, DESTROYED)], SOUND),
    ("recommendation", "inconclusive", "level with the base", curve("nf4", {8: 5.4, 16: 5.41}, THREE), SOUND),
]
