"""How often the 95% intervals hold the truth, on made-up losses whose truth is known.

`python benchmarks/measure_coverage.py` prints the tables of docs/uncertainty.md, and with names of PARTS those alone.
Losses are lognormal, token counts unequal and related to the loss; one run's loss, or the difference of two runs' whose
examples are the same. Then arms of several learning rates, each at its best: tuned_studies.py.
"""

import itertools
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import _path  # noqa: F401
import numpy as np
import pandas as pd
from frontier.results import uncertainty
from scipy import stats
from tuned_studies import (
    FRESH_RATES,
    FRESH_SHAPES,
    RATES,
    SHAPES,
    USED,
    WAYS,
    Cell,
    measure_flattery,
    measure_unlike_seeds,
)
from tuned_studies import measure as measure_picked

# Token counts at the quantiles of a lognormal distribution, each as likely as the others: the truth is a plain mean.
LENGTHS = np.round(np.exp(4.5 + 0.5 * stats.norm.ppf((np.arange(1000) + 0.5) / 1000)))
SIGMA = 0.5
SLOPE = -0.3
KINDS = ("one run", "difference")
# Seeds with the seeds' share, by how many examples there are.
CELLS = {
    100: [(1, 0.0), *itertools.product((2, 3), (0.1, 0.5, 0.9))],
    500: [(1, 0.0), *itertools.product((2, 3), (0.1, 0.5, 0.9))],
    1319: [(1, 0.0), (2, 0.5)],
}
# Others, which the way used was not chosen on.
FRESH_CELLS = {
    60: [(1, 0.0), (2, 0.3), (3, 0.3)],
    250: [(1, 0.0), *itertools.product((2, 3), (0.3, 0.7))],
    800: [(1, 0.0), (2, 0.3), (3, 0.7)],
}
# The limits that coverage is held to. By chance a cell of 2,000 studies is off by up to a point, so that one which
# comes within that of a limit is measured again, by other random numbers, with studies enough to tell its side.
LIMITS = (0.92, 0.97)
DOUBT = 0.01
STUDIES_IN_DOUBT = 20_000
# A way whose width is that of the others' comparison.
PLAIN = "same examples"


def draw_losses(
    random, kind: str, shape: tuple, seeds: int, share: float, sigma: float = SIGMA
) -> tuple[np.ndarray, np.ndarray, float]:
    """NLL (studies x seeds x examples), token counts (studies x examples), and the true loss in nats a token.

    `share` is how much of the variance of the mean over seeds comes from the seeds' effect on the run.
    """
    tokens = random.choice(LENGTHS, shape)
    level = (LENGTHS / 90) ** SLOPE
    truth = float((level * LENGTHS).mean() / LENGTHS.mean())
    rate = random.lognormal(-(sigma**2) / 2, sigma, shape) * (tokens / 90) ** SLOPE
    own = random.standard_normal((shape[0], seeds, shape[1]))
    if kind == "difference":
        truth *= 0.02
        shared = 0.02 * rate + 0.05 * rate * random.standard_normal(shape)
        per_token = shared[:, None] + 0.07 * rate[:, None] * own
    else:
        per_token = rate[:, None] * (1 + 0.1 * own)
    residual = ((per_token.mean(axis=1) - truth) * tokens / LENGTHS.mean()).var()
    effect = np.sqrt(seeds * share / (1 - share) * residual / shape[1]) if seeds > 1 else 0
    per_token = per_token + effect * random.standard_normal((shape[0], seeds, 1))
    return per_token * tokens[:, None], tokens, truth


def measure(
    kind: str, seeds: int, examples: int, share: float, studies: int, draws: int, seed: int = 0, sigma: float = SIGMA
) -> float:
    """The share of studies whose interval holds the truth."""
    nll, tokens, truth = draw_losses(np.random.default_rng(seed), kind, (studies, examples), seeds, share, sigma)
    if seeds > 1:
        interval = uncertainty.over_seeds(nll, tokens)
    else:
        # The same resamples serve all studies, which are independent of them.
        resampled = uncertainty.resample_losses(nll[:, 0].T, tokens.T, draws, seed + 1)
        interval = uncertainty.over_examples(nll[:, 0].sum(axis=1) / tokens.sum(axis=1), resampled)
    return float(((interval.low <= truth) & (truth <= interval.high)).mean())


def measure_crossed(kind: str, seeds: int, examples: int, share: float, studies: int, draws: int) -> float:
    """The same for a bootstrap that resamples seeds and examples both, as a comparison."""
    random = np.random.default_rng(0)
    nll, tokens, truth = draw_losses(random, kind, (studies, examples), seeds, share)
    chosen = random.multinomial(examples, np.full(examples, 1 / examples), size=draws).astype(float)
    picked = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    summed = sum(picked[:, [one]] * (chosen @ nll[:, one].T) for one in range(seeds))
    low, high = np.quantile(summed / (chosen @ tokens.T), [0.025, 0.975], axis=0)
    return float(((low <= truth) & (truth <= high)).mean())


def measure_satterthwaite(kind: str, seeds: int, examples: int, share: float, studies: int) -> float:
    """The same with Student's t of Satterthwaite's degrees of freedom on the same standard error, as a comparison."""
    nll, tokens, truth = draw_losses(np.random.default_rng(0), kind, (studies, examples), seeds, share)
    interval = uncertainty.over_seeds(nll, tokens)
    by_seed = (nll.sum(axis=2) / tokens.sum(axis=1)[:, None]).var(axis=1, ddof=1) / seeds
    whole = interval.standard_error**2
    freedom = whole**2 / (by_seed**2 / (seeds - 1) + (whole - by_seed) ** 2 / (examples - 1))
    return float((abs(interval.estimate - truth) <= stats.t.ppf(0.975, freedom) * interval.standard_error).mean())


def print_intervals(studies: int = 10_000) -> None:
    """Print the coverage of the intervals of one run and of the difference of two."""
    print("| seeds | examples | sigma | one run | difference |\n|--:|--:|--:|--:|--:|")
    for sigma in (SIGMA, 1.0):
        for examples in (48, 100, 1319):
            held = [measure(kind, 1, examples, 0, studies, 2_000, sigma=sigma) for kind in KINDS]
            print(f"| 1 | {examples:,} | {sigma} | " + " | ".join(f"{one:.1%}" for one in held) + " |", flush=True)
    print("\n| seeds | examples | seeds' share | one run | difference | Satterthwaite | crossed bootstrap |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    for seeds in (2, 3, 5):
        for share in (0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
            held = [measure(kind, seeds, 400, share, studies, 0) for kind in KINDS]
            held.append(measure_satterthwaite(KINDS[0], seeds, 400, share, studies))
            held.append(measure_crossed(KINDS[0], seeds, 400, share, 2_000, 1_000))
            print(f"| {seeds} | 400 | {share:.0%} | " + " | ".join(f"{one:.1%}" for one in held) + " |", flush=True)


def print_ways(studies: int = 3_000) -> None:
    """Print the coverage over all cells by way."""
    _print_ways(_measured(_cells(CELLS, SHAPES, RATES), (*WAYS, USED), studies, 0))


def print_used(studies: int = 2_000) -> None:
    """Print the coverage of the way used, by seeds, examples and shape."""
    _print_held(_cells(CELLS, SHAPES, RATES), SHAPES, studies, 1)


def print_fresh(studies: int = 2_000) -> None:
    """Print the coverage of the way used in cells, and with random numbers, that it was not chosen on."""
    _print_held(_cells(FRESH_CELLS, FRESH_SHAPES, FRESH_RATES), FRESH_SHAPES, studies, 303)


def _print_held(cells: list[Cell], shapes, studies: int, seed: int) -> None:
    """Print the coverage of the way used, cells in doubt measured again, and how many are outside the limits."""
    frame = _measured(cells, (PLAIN, USED), studies, seed)
    held = frame.loc[frame["way"] == USED].reset_index(drop=True)
    in_doubt = held["difference"].lt(LIMITS[0] + DOUBT) | held["difference"].gt(LIMITS[1] - DOUBT)
    again = _measured([cells[place] for place in np.flatnonzero(in_doubt)], (PLAIN, USED), STUDIES_IN_DOUBT, seed + 1)
    held.loc[in_doubt, "difference"] = again.loc[again["way"] == USED, "difference"].to_numpy()
    print(f"\n{len(cells)} cells of {studies:,} studies, {in_doubt.sum()} of them again with {STUDIES_IN_DOUBT:,}")
    _print_ways(held)
    _print_used(held, shapes)
    for one in held.nsmallest(3, "difference").to_dict("records") + held.nlargest(3, "difference").to_dict("records"):
        what = ", ".join(str(one[key]) for key in ("seeds", "examples", "share", "shape", "rates"))
        print(f"{one['difference']:.2%}: {what}")


def _cells(settings, shapes, rates) -> list[Cell]:
    several = [(examples, *one) for examples, several in settings.items() for one in several]
    return [
        Cell(count, seeds, examples, share, shape)
        for (examples, seeds, share), shape, count in itertools.product(several, shapes, rates)
    ]


def _measured(cells: list[Cell], ways, studies: int, seed: int) -> pd.DataFrame:
    """Return a row for each cell and way; `width` is beside that of picking and judging on the same examples."""
    rows = []
    with ProcessPoolExecutor() as pool:
        measure_cell = partial(measure_picked, ways, studies=studies, seed=seed)
        for cell, found in zip(cells, pool.map(measure_cell, cells), strict=True):
            for way, (one, difference, width) in found.items():
                what = (cell.seeds, cell.examples, cell.share, cell.shape, str(cell.rates))
                rows.append((way, *what, one, difference, width / found[PLAIN][2]))
    names = ["way", "seeds", "examples", "share", "shape", "rates", "one", "difference", "width"]
    return pd.DataFrame(rows, columns=names)


def print_near(studies: int = 3_000) -> None:
    """Print the coverage by the number of arms, and where seed 1 was run near the best rate alone."""
    with ProcessPoolExecutor() as pool:
        _print_arms(pool, studies)
        print("\n| seed 1 near the best alone | difference |\n|---|--:|")
        near = [Cell(rates, 2, 500, 0.5, shape) for shape, rates in itertools.product(SHAPES, ((5, 5), (8, 3)))]
        for cell, held in zip(near, pool.map(partial(measure_unlike_seeds, studies=studies), near), strict=True):
            print(f"| {cell.shape}, {cell.rates[0]} and {cell.rates[1]} rates | {held:.1%} |")


def print_flattery(studies: int = 5_000) -> None:
    """Print how often the better of eight equal rates is said to beat one rate that is as good."""
    for way, share in measure_flattery((PLAIN, USED), Cell((8, 1), 1, 100, 0.0, "flat"), studies).items():
        print(f"{way}: {share:.1%} of {studies:,} studies")


def _print_arms(pool: ProcessPoolExecutor, studies: int) -> None:
    """Print the coverage where fewer and more arms tell what a seed does: two seeds, 500 examples, a share of 50%."""
    print("\n| arms | " + " | ".join(SHAPES) + " | one arm |")
    print("|--:|" + "--:|" * (len(SHAPES) + 1))
    counts = (2, 3, 6, 12)
    cells = [Cell((5, 5), 2, 500, 0.5, shape, arms) for arms in counts for shape in SHAPES]
    found = [one[USED] for one in pool.map(partial(measure_picked, [USED], studies=studies), cells)]
    for place, arms in enumerate(counts):
        several = found[place * len(SHAPES) : (place + 1) * len(SHAPES)]
        shown = [f"{difference:.1%}" for _, difference, _ in several]
        print(f"| {arms} | {' | '.join(shown)} | {np.mean([one for one, _, _ in several]):.1%} |", flush=True)


def _print_ways(frame: pd.DataFrame) -> None:
    print("| way | seeds | one arm | difference | least | most | below 92% | above 97% | width |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for (way, seeds), rows in frame.groupby(["way", "seeds"], sort=False):
        held, count = rows["difference"], len(rows)
        cells = [f"{rows['one'].mean():.1%}", f"{held.mean():.1%}", f"{held.min():.1%}", f"{held.max():.1%}"]
        cells += [
            f"{(held < 0.92).sum()} of {count}",
            f"{(held > 0.97).sum()} of {count}",
            f"{rows['width'].mean():.2f}",
        ]
        print(f"| {way} | {seeds} | " + " | ".join(cells) + " |")


def _print_used(frame: pd.DataFrame, shapes) -> None:
    print("\n| seeds | seeds' share | examples | " + " | ".join(shapes) + " | one arm |")
    print("|--:|--:|--:|" + "--:|" * (len(shapes) + 1))
    for (seeds, share, examples), rows in frame.groupby(["seeds", "share", "examples"]):
        by_shape = [rows.loc[rows["shape"] == shape, "difference"] for shape in shapes]
        cells = [f"{held.min():.1%} to {held.max():.1%}" for held in [*by_shape, rows["one"]]]
        print(f"| {seeds} | {share:.0%} | {examples:,} | " + " | ".join(cells) + " |")


PARTS = {
    "intervals": print_intervals,
    "ways": print_ways,
    "used": print_used,
    "near": print_near,
    "flattery": print_flattery,
    "fresh": print_fresh,
}


if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
