"""Made-up arms of several learning rates, and how often an interval that includes the pick holds the truth.

The truth is the loss at the truly best rate: of all seeds where there are several, of that seed where there is one.
Spreads are those of docs/reference/smollm2-gsm8k-at-5e-4, in nats a token: 0.29 from example to example, which all runs
share, and what two runs differ by beyond that.
"""

import itertools
from typing import NamedTuple

import _path  # noqa: F401
import numpy as np
import pandas as pd
from frontier.results import contrasts, picking, seeds, tuning, uncertainty
from frontier.results.configurations import Configuration

SHARED = 0.287
# What is an arm's own, a rate's own and a run's own in an example's loss.
OF_ARM, OF_RATE, OF_RUN = 0.015, 0.03, 0.03
# By how much the neighbours of the best rate are worse; the next by four times as much, and so on.
SHAPES = {"flat": 0.0, "shallow": 0.002, "middling": 0.005, "peaked": 0.01}
# Others, which the way used was not chosen on.
FRESH_SHAPES = {"gentle": 0.001, "low": 0.0035, "high": 0.0075, "steep": 0.02}
# How many rates the two arms have that are compared.
RATES = ((3, 3), (8, 8), (5, 1), (8, 1), (8, 3))
FRESH_RATES = ((4, 4), (6, 2), (6, 6), (4, 1), (10, 10))
# Examples' parts, whether the judged seed is left out of the pick, by the name of the way.
WAYS = {
    "same examples": None,
    "half and half": None,
    "2 parts": (2, False),
    "5 parts": (5, False),
    "10 parts": (10, False),
    "5 parts, other seeds": (5, True),
    "5 parts, halved": None,
}
USED = "used: 5 parts, other seeds, halved"
# Standard deviation of the logarithm of how much a seed does to an arm, from arm to arm.
UNLIKE = 0.3


class Cell(NamedTuple):
    """What made-up studies of two arms have in common: `rates` has how many each arm has.

    `share` is how much of the variance of the mean over seeds comes from the seeds' effects, half of them an arm's and
    half a rate's. `arms` is how many arms the study has, the two among them: all tell what a seed does.
    """

    rates: tuple[int, int]
    seeds: int
    examples: int
    share: float
    shape: str
    arms: int = 6


def effect_of_seed(cell: Cell) -> float:
    """The standard deviation of what a seed does to a run, nats a token; of one seed it is part of the truth."""
    of_examples = 1.28 * (OF_ARM**2 + OF_RATE**2 + OF_RUN**2 / cell.seeds) / cell.examples
    return float(np.sqrt(cell.seeds * cell.share / (1 - cell.share) * of_examples)) if cell.seeds > 1 else 0.001


def draw_others(random, studies: int, cell: Cell) -> np.ndarray:
    """The losses of a study's further arms, studies x arms x seeds: what seeds do to them is all that counts."""
    unlike = np.exp(UNLIKE * random.standard_normal((studies, cell.arms - 2, 1)))
    spread = np.sqrt((unlike * effect_of_seed(cell)) ** 2 + 1.28 * OF_RUN**2 / cell.examples)
    return spread * random.standard_normal((studies, cell.arms - 2, cell.seeds))


def draw(random, studies: int, rates: int, cell: Cell, shared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An arm's losses a token (studies x rates x seeds x examples), and its true loss at the best rate (studies).

    `shared` (studies x examples) is what all runs have in common, in standard deviations.
    """
    seeds, count, shape = cell.seeds, cell.examples, cell.shape

    def normal(*sizes: int) -> np.ndarray:
        return random.standard_normal((studies, *sizes), dtype=np.float32)

    curve = (SHAPES | FRESH_SHAPES)[shape] * (np.arange(rates, dtype=np.float32) - (rates - 1) // 2) ** 2
    unlike = np.exp(UNLIKE * normal(1, 1, 1)) if seeds > 1 else 1
    own = (
        unlike * effect_of_seed(cell) * np.sqrt(0.5) * (normal(1, seeds, 1) + normal(rates, seeds, 1))
        + curve[:, None, None]
    )
    losses = (
        0.65 + own + SHARED * shared[:, None, None] + OF_ARM * normal(1, 1, count) + OF_RATE * normal(rates, 1, count)
    )
    true = own[:, :, 0, 0].min(axis=1) if seeds == 1 else np.full(studies, curve.min())
    return losses + OF_RUN * normal(rates, seeds, count), 0.65 + true


def pick(nll: np.ndarray, tokens: np.ndarray, parts: int, leaves_seed_out: bool = False) -> np.ndarray:
    """NLL (studies x seeds x examples) of each part of the examples at the rate that the other parts pick.

    With one part it is picked and judged on the same examples.
    """
    seeds, count = nll.shape[-2:]
    part = np.arange(count) % parts
    summed, counts = (
        np.stack([one[..., part == index].sum(-1) for index in range(parts)], -1) for one in (nll, tokens)
    )
    if parts > 1:
        summed, counts = (one.sum(axis=-1, keepdims=True) - one for one in (summed, counts))
    losses = summed / counts[:, None, None]
    whole = losses.sum(axis=2, keepdims=True)
    rates = (whole - losses if leaves_seed_out and seeds > 1 else np.repeat(whole, seeds, 2)).argmin(axis=1)
    return np.take_along_axis(nll, rates[..., part][:, None], axis=1)[:, 0]


def judged(way: str, nll: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An arm's NLL at its best rate by one of the ways, the token counts that go with it, and the error of the pick."""
    none = np.zeros(len(nll))
    if way == USED:
        there = np.ones(nll.shape[1:3], bool)
        found = (nll.sum(axis=-1) / tokens.sum(axis=-1)[:, None, None]).mean(axis=-1)
        one = picking.judge(nll, tokens, there, found.argmin(axis=-1))
        return one.nll, tokens, one.error
    if way == "same examples":
        return pick(nll, tokens, 1), tokens, none
    if way == "5 parts, halved":
        own, others = pick(nll, tokens, 1), pick(nll, tokens, 5)
        apart = (others - own).sum(axis=-1).mean(axis=-1) / tokens.sum(axis=-1)
        return (own + others) / 2, tokens, apart / 2
    if way == "half and half":
        return pick(nll, tokens, 2)[..., ::2], tokens[:, ::2], none
    return pick(nll, tokens, *WAYS[way]), tokens, none


def interval_of(nll: np.ndarray, tokens: np.ndarray, error: np.ndarray, of_seeds=None) -> uncertainty.Interval:
    """The interval of a loss, or of a difference; of one seed the bootstrap's linearisation, which is as wide."""
    one = uncertainty.of_runs(nll.astype(float), tokens.astype(float), of_seeds=of_seeds)
    return uncertainty.with_error(one, error)


def spread_of_seeds(arms: list[np.ndarray], others: np.ndarray) -> list[seeds.SeedSpread | None]:
    """What all arms of each study tell of other seeds, the two compared under 0 and 1; all: studies x arms x seeds."""
    several = np.concatenate([np.stack(arms, axis=1), others], axis=1)
    return [seeds.seed_spread({place: dict(enumerate(one)) for place, one in enumerate(study)}) for study in several]


def of_seeds(weights: tuple[int, int], spreads: list[seeds.SeedSpread]) -> uncertainty.Parts:
    """What other seeds would do to the weighted sum of the two arms' losses, by study."""
    own = [[one.own[place] for place, weight in enumerate(weights) if weight] for one in spreads]
    variance, freedom = [sum(part for part, _ in one) for one in own], [min(part for _, part in one) for one in own]
    common = sum(weights) ** 2 * np.array([one.common for one in spreads])
    return ((common, spreads[0].common_freedom), (np.array(variance), np.array(freedom)))


def measure(ways, cell: Cell, studies: int, seed: int = 0) -> dict[str, np.ndarray]:
    """By way: how often one arm's interval and that of two arms' difference hold the truth, and the latter's width."""
    held = {way: [] for way in ways}
    for way, found, truth in _intervals(ways, cell, studies, seed):
        inside = [(one.low <= true) & (true <= one.high) for one, true in zip(found, truth, strict=True)]
        held[way].append([*inside, found[1].high - found[1].low])
    return {way: np.concatenate(several, axis=1).mean(axis=1) for way, several in held.items()}


def measure_flattery(ways, cell: Cell, studies: int, seed: int = 0) -> dict[str, float]:
    """By way: how often the first arm is said to have a lower loss beside the second than it truly has."""
    flattered = {way: [] for way in ways}
    for way, found, truth in _intervals(ways, cell, studies, seed):
        flattered[way].append(found[1].high < truth[1])
    return {way: float(np.concatenate(several).mean()) for way, several in flattered.items()}


def _intervals(ways, cell: Cell, studies: int, seed: int):
    """Yield a way, its intervals of one arm and of the difference, and the truth of both, some studies at a time."""
    random = np.random.default_rng(seed)
    size = max(20, int(6e6 / (sum(cell.rates) * cell.seeds * cell.examples)))
    for start in range(0, studies, size):
        count = min(size, studies - start)
        tokens = np.round(random.lognormal(4.5, 0.5, (count, cell.examples))).astype(np.float32)
        shared = random.standard_normal((count, cell.examples), dtype=np.float32)
        arms = [draw(random, count, one, cell, shared) for one in cell.rates]
        others = draw_others(random, count, cell)
        truth = [arms[0][1], arms[0][1] - arms[1][1]]
        for way in ways:
            (first, kept, error), (second, _, other) = (
                judged(way, losses * tokens[:, None, None], tokens) for losses, _ in arms
            )
            known = [None, None]
            if way == USED and cell.seeds > 1:
                level = [one.sum(axis=-1) / kept.sum(axis=-1)[:, None] for one in (first, second)]
                spreads = spread_of_seeds(level, others)
                known = [of_seeds(weights, spreads) for weights in ((1, 0), (1, -1))]
            found = (
                interval_of(first, kept, error, known[0]),
                interval_of(first - second, kept, np.hypot(error, other), known[1]),
            )
            yield way, found, truth


def measure_unlike_seeds(cell: Cell, studies: int, draws: int = 500) -> float:
    """How often the difference's interval holds the truth where seed 1 was run near the best rate alone.

    Near are the rate that seed 0 found best and its neighbours. Studies whose best rate has one seed in the end are not
    counted.
    """
    random, held = np.random.default_rng(0), []
    for _ in range(studies):
        tokens = np.round(random.lognormal(4.5, 0.5, cell.examples))
        shared = random.standard_normal((1, cell.examples))
        columns, frames, truths = {}, [], []
        for rank, count in enumerate(cell.rates, 1):
            losses, truth = draw(random, 1, count, cell, shared)
            truths.append(truth[0])
            best = int((losses[0, :, 0] @ tokens).argmin())
            for rate, seed in itertools.product(range(count), (0, 1)):
                if seed == 0 or abs(rate - best) < 2:
                    columns.setdefault(Configuration("nf4", rank, float(rate + 1)), {})[seed] = len(frames)
                    frames.append(losses[0, rate, seed] * tokens)
        nll = np.column_stack(frames)
        made = contrasts.with_seeds(
            contrasts.Losses(nll, tokens, uncertainty.resample_losses(nll, tokens, draws), columns)
        )
        pair = {Configuration("nf4", 1): 1, Configuration("nf4", 2): -1}
        one = contrasts.contrast(tuning.tuned(made).losses, pair)
        held.append((one.low <= truths[0] - truths[1] <= one.high, one.basis))
    frame = pd.DataFrame(held, columns=["held", "basis"])
    return float(frame.loc[frame["basis"] != "this seed only", "held"].mean())
