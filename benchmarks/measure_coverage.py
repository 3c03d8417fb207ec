"""How often the 95% intervals hold the truth, on made-up losses whose truth is known.

`python benchmarks/measure_coverage.py` prints the tables of docs/uncertainty.md. Losses are lognormal, token counts
unequal and related to the loss; one run's loss, or the difference of two runs' whose examples are the same. Then arms
of several learning rates, each at its best: tuned_studies.py.
"""

import itertools
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import _path  # noqa: F401
import numpy as np
import pandas as pd
from frontier.results import uncertainty
from scipy import stats
from tuned_studies import RATES, SHAPES, USED, WAYS, Cell, measure_unlike_seeds
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


def main(studies: int = 10_000) -> None:
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


def print_best_rates(studies: int = 3_000) -> None:
    """Print, by way, the coverage over all cells, then that of the way used by seeds, examples and shape."""
    ways = (*WAYS, USED)
    settings = [(examples, *one) for examples, several in CELLS.items() for one in several]
    cells = [
        Cell(rates, seeds, examples, share, shape)
        for (examples, seeds, share), shape, rates in itertools.product(settings, SHAPES, RATES)
    ]
    rows = []
    with ProcessPoolExecutor() as pool:
        for cell, found in zip(cells, pool.map(partial(measure_picked, ways, studies=studies), cells), strict=True):
            for way, (one, difference, width) in found.items():
                what = (cell.seeds, cell.examples, cell.share, cell.shape, str(cell.rates))
                rows.append((way, *what, one, difference, width / found["same examples"][2]))
        names = ["way", "seeds", "examples", "share", "shape", "rates", "one", "difference", "width"]
        frame = pd.DataFrame(rows, columns=names)
        _print_ways(frame)
        _print_used(frame[frame["way"] == USED])
        _print_arms(pool, studies)
        print("\n| seed 1 near the best alone | difference |\n|---|--:|")
        near = [Cell(rates, 2, 500, 0.5, shape) for shape, rates in itertools.product(SHAPES, ((5, 5), (8, 3)))]
        for cell, held in zip(near, pool.map(partial(measure_unlike_seeds, studies=studies), near), strict=True):
            print(f"| {cell.shape}, {cell.rates[0]} and {cell.rates[1]} rates | {held:.1%} |")


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


def _print_used(frame: pd.DataFrame) -> None:
    print("\n| seeds | seeds' share | examples | " + " | ".join(SHAPES) + " | one arm |")
    print("|--:|--:|--:|" + "--:|" * (len(SHAPES) + 1))
    for (seeds, share, examples), rows in frame.groupby(["seeds", "share", "examples"]):
        by_shape = [rows.loc[rows["shape"] == shape, "difference"] for shape in SHAPES]
        cells = [f"{held.min():.1%} to {held.max():.1%}" for held in [*by_shape, rows["one"]]]
        print(f"| {seeds} | {share:.0%} | {examples:,} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
    print_best_rates()
