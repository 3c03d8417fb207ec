"""How often the recommendation is right, on made-up studies whose truth is known: the table of docs/uncertainty.md.

    python benchmarks/measure_recommendation.py [--studies=100]

Spreads are those of docs/reference/smollm2-gsm8k-at-5e-4, in nats a token: 0.29 from example to example, which all runs
share; beyond that an example differs by 0.034 from configuration to configuration and by 0.03 from run to run, by 0.15
from the untrained model to a trained one; and a seed moves a configuration's loss by 0.0015. A configuration of more
memory is a higher rank. Truths, in perplexity: *flat*, all are as good; *shallow* and *steep*, each is 0.3% or 2%
better than the one before, but the last is half of that worse; *useless*, all are as good as the untrained model;
*harmful*, all are 1% worse than it.
"""

import argparse
import itertools
import math
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import _path  # noqa: F401
import numpy as np
import pandas as pd
from frontier.results import contrasts
from frontier.results.claims.claim import ALPHA, Evidence
from frontier.results.claims.recommendation import recommendation
from frontier.results.configurations import Configuration

SHARED, OF_CONFIGURATION, OF_RUN, OF_TRAINING, OF_SEED = 0.287, 0.034, 0.03, 0.15, 0.0015
EXAMPLES, SEEDS, CONFIGURATIONS = (12, 44, 500, 1319), (1, 2, 3), (3, 8, 20)
TRUTHS = ("flat", "shallow", "steep", "useless", "harmful")
# By how much a step in rank lowers the loss, but for the last, which raises it by half of that.
STEPS = {"shallow": 0.003, "steep": 0.02}
UNTRAINED = 1.55
LIMITS = {"memory_gib": None, "hours": None}
# Resamples of a bootstrap; an interval of one of twenty candidates rests on the outer 0.13%.
DRAWS = 2_000


class Cell(NamedTuple):
    """What made-up studies have in common."""

    examples: int
    seeds: int
    configurations: int
    truth: str


class Judged(NamedTuple):
    """What came of a study: is the choice good, the verdict supported, and a supported one wrong."""

    good: bool
    supported: bool
    wrong: bool
    recommends_training: bool


def true_losses(cell: Cell) -> np.ndarray:
    """The true loss of each configuration, by rank, in nats a token; the untrained model is at UNTRAINED."""
    count = cell.configurations
    if cell.truth in STEPS:
        step = STEPS[cell.truth]
        losses = 0.65 + step * np.arange(count)[::-1]
        losses[-1] = losses[-2] + step / 2
        return losses
    return np.full(count, {"flat": 0.65, "useless": UNTRAINED, "harmful": UNTRAINED + 0.01}[cell.truth])


def draw(random, cell: Cell, truth: np.ndarray) -> Evidence:
    """A study of one precision with these true losses, in the state in which findings.py hands it on."""
    tokens = np.round(random.lognormal(4.5, 0.5, cell.examples))

    def normal() -> np.ndarray:
        return random.standard_normal(cell.examples)

    shared, trained = SHARED * normal(), OF_TRAINING * normal()
    frames, rows = {}, []
    for place, loss in enumerate(truth):
        own = shared + trained + OF_CONFIGURATION * normal()
        for seed in range(cell.seeds):
            each = loss + OF_SEED * random.standard_normal() + own + OF_RUN * normal()
            found, run = float(each @ tokens / tokens.sum()), f"nf4-r{place + 1}-s{seed}"
            frames[run] = pd.DataFrame({"nll": each * tokens, "tokens": tokens})
            rows.append({"run": run, "precision": "nf4", "rank": place + 1, "seed": seed, "status": "ok"})
            rows[-1] |= {"eval_loss": found, "perplexity": math.exp(found), "train_seconds": 100.0}
            rows[-1] |= {"peak_memory_gib": 4 + place / 10, "memory_metric": "cuda_allocated", "device": "a card"}
    base = {"nf4": pd.DataFrame({"nll": (UNTRAINED + shared) * tokens, "tokens": tokens})}
    summary = pd.DataFrame(rows)
    losses = contrasts.gather(summary, frames, base, DRAWS if cell.seeds == 1 else 2)
    return Evidence(summary, losses, LIMITS, LIMITS | {"max_perplexity": None})


def judge(cell: Cell, truth: np.ndarray, results: Evidence) -> Judged:
    """Hold a study's recommendation against its truth.

    It is good within 1% in perplexity of the truly best candidate, or where it is cheaper than that one and the study
    does not tell the two apart. A supported one is wrong where the untrained model is as good, or another candidate
    better by more than it says.
    """
    one = recommendation(results)
    values = one["evidence"]["values"]
    losses = np.array([UNTRAINED, *truth])
    behind = losses[values["rank"]] - losses.min()
    good = bool(behind < math.log(1.01) or _cheaper_and_level(results, int(losses.argmin()), values["rank"]))
    supported = one["verdict"] == "supported"
    says = math.log1p((values["most_behind_percent"] or 0) / 100)
    worse = bool(values["rank"] and (losses[values["rank"]] >= UNTRAINED or behind > says + 1e-9))
    return Judged(good, supported, supported and worse, bool(values["rank"]))


def _cheaper_and_level(results: Evidence, best: int, rank: int) -> bool:
    """Whether a rank, 0 for the untrained model, is below the truly best one, and not told apart from it."""
    pair = {Configuration("nf4", rank): 1, Configuration("nf4", best): -1}
    return rank < best and contrasts.contrast(results.arms, pair, ALPHA / (len(results.tuned.arms))).low <= 0


def measure(cell: Cell, studies: int, seed: int = 0) -> Judged:
    """The shares of studies; `wrong` is of all studies."""
    random, truth = np.random.default_rng([seed, cell.examples, cell.seeds, cell.configurations]), true_losses(cell)
    return Judged(*np.mean([judge(cell, truth, draw(random, cell, truth)) for _ in range(studies)], axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description="Hold recommendations of made-up studies against their truth.")
    parser.add_argument("--studies", type=int, default=100, help="made-up studies a cell; 100 where none is given")
    parser.add_argument("--truths", nargs="+", choices=TRUTHS, default=TRUTHS, help="all where none is given")
    args = parser.parse_args()
    studies = args.studies
    print("| truth | examples | seeds | good | least | supported | wrong of those | says to train |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    rows = [*itertools.product(args.truths, EXAMPLES, SEEDS)]
    cells = [Cell(examples, seeds, count, truth) for truth, examples, seeds in rows for count in CONFIGURATIONS]
    with ProcessPoolExecutor() as pool:
        found = pool.map(partial(measure, studies=studies), cells)
        for truth, examples, seeds in rows:
            several = [*itertools.islice(found, len(CONFIGURATIONS))]
            mean = Judged(*np.mean(several, axis=0))
            wrong = f"{mean.wrong / mean.supported:.1%}" if mean.supported else "none"
            least = min(one.good for one in several)
            shown = [f"{mean.good:.1%}", f"{least:.0%}", f"{mean.supported:.1%}", wrong]
            trains = f"{mean.recommends_training:.0%}"
            print(f"| {truth} | {examples:,} | {seeds} | {' | '.join(shown)} | {trains} |", flush=True)


if __name__ == "__main__":
    main()
