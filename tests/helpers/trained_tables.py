"""Made-up trainings, and a case of every verdict of the claims about what training did and what NF4 costs beside it."""

import numpy as np
import pandas as pd
from tables import curve, row, sized
from tuned_tables import LEVEL, QUIET, ranked, tried

STEPS = 100
FALLING = {8: 4.0, 16: 3.5, 32: 3.0}
HOST = {"memory_metric": "host_rss"}


def history(loss: float, fall: float = 0.0, noise: float = 0.01, key: int = 0, steps: int = STEPS) -> pd.DataFrame:
    """A training whose last fifth has a mean loss, and falls in it by as much as is asked, but for noise of a batch."""
    step = np.arange(1, steps + 1)
    end = np.clip((step - 0.9 * steps) / (0.2 * steps), -0.5, 0.5)
    losses = loss - fall * end + noise * np.random.default_rng(key).standard_normal(steps)
    return pd.DataFrame({"step": step, "loss": losses, "seconds": 2.0 * step})


def trained(rows: list[dict], losses: dict[int, float], **changes) -> dict:
    """What `results` takes for rows whose trainings end at a loss by their rank; all see the same batches."""
    return {"histories": {one["run"]: history(losses[one["rank"]], **changes) for one in rows}}


def lengths(perplexities: dict[str, float], axis: str = "epochs") -> list[dict]:
    """Rows of one rank, each of another length of training."""
    return [row("nf4", 8, 0, one, **{axis: key, "run": f"nf4-r8-s0-{axis}{key}"}) for key, one in perplexities.items()]


def timed(**seconds: list[float]) -> list[dict]:
    return [
        row(precision, rank, 0, 3.0, train_seconds=one)
        for precision, several in seconds.items()
        for rank, one in zip((8, 16, 32), several, strict=False)
    ]


def targeted(perplexities: dict[str, float], **changes) -> list[dict]:
    """Rows of one rank, each of another set of targets."""
    return [
        row("nf4", 8, 0, one, **{"targets": name, "run": f"nf4-r8-s0-{name}"} | changes)
        for name, one in perplexities.items()
    ]


SETS = {"targets": {"whole": "all-linear", "attention": ["q_proj", "v_proj"], "mlp": ["up_proj", "down_proj"]}}
ONE = curve("nf4", {8: 3.0})
BOTH = [*curve("nf4", {8: 3.0}), *curve("nf4", {16: 3.0})]
# Bracketed rates of two ranks and two lengths that are all alike.
LEVEL_IN_ALL = [
    one for epochs in ("1", "2") for rank in (8, 16) for one in tried("nf4", rank, 3.0, 2e-3, epochs=epochs, steep=0.1)
]

# As the cases of test_findings.py: claim, verdict, shape, rows, and what else the table takes.
CASES = [
    ("training_helped", "supported", "all better", curve("nf4", FALLING), {"bases": {"nf4": 6.0}}),
    ("training_helped", "contradicted", "all worse", curve("nf4", FALLING), {"bases": {"nf4": 2.0}}),
    ("training_helped", "contradicted", "a destroyed model", curve("nf4", {8: 1e10}), {"bases": {"nf4": 30.8}}),
    ("training_helped", "inconclusive", "some better", curve("nf4", {8: 4.0, 16: 9.0}), {"bases": {"nf4": 6.0}}),
    ("training_helped", "inconclusive", "noise", ONE, {"bases": {"nf4": 3.01}, "noise": 0.5}),
    (
        "training_helped",
        "inconclusive",
        "worse at an edge of the rates",
        tried("nf4", 8, 4.0, 5e-4),
        QUIET | {"bases": {"nf4": 3.0}},
    ),
    ("training_helped", "not_measured", "no base", curve("nf4", FALLING), {"bases": {"fp16": 6.0}}),
    ("overfitting", "supported", "training far below", ONE, trained(ONE, {8: 0.8})),
    ("overfitting", "supported", "one of two", BOTH, trained(BOTH, {8: 1.2, 16: 0.8})),
    ("overfitting", "contradicted", "training above", ONE, trained(ONE, {8: 1.2})),
    ("overfitting", "inconclusive", "noise of examples", ONE, trained(ONE, {8: 1.095})),
    ("overfitting", "inconclusive", "noise of batches", ONE, trained(ONE, {8: 1.2}, noise=2.0)),
    ("overfitting", "not_measured", "no history", ONE, {}),
    ("overfitting", "not_measured", "two losses at the end", ONE, trained(ONE, {8: 0.8}, steps=10)),
    ("next_gain", "supported", "rank still falls", curve("nf4", FALLING), {}),
    ("next_gain", "supported", "the highest rate still falls", tried("nf4", 8, 3.0, 8e-3, steep=0.1), QUIET),
    ("next_gain", "supported", "the lowest rate still falls", tried("nf4", 8, 3.0, 5e-4, steep=0.1), QUIET),
    ("next_gain", "supported", "epochs still fall", lengths({"1": 3.5, "2": 3.0}), {}),
    ("next_gain", "supported", "steps still fall", lengths({"100": 3.5, "1000": 3.0}, "steps_asked"), {}),
    ("next_gain", "contradicted", "level in all", LEVEL_IN_ALL, {"noise": 0.005}),
    ("next_gain", "inconclusive", "rank is level, no more was tried", curve("nf4", LEVEL), QUIET),
    ("next_gain", "inconclusive", "rank is worse at an edge", ranked({8: 8e-3, 16: 2e-3}, {8: 4.0, 16: 3.0}), QUIET),
    ("next_gain", "inconclusive", "training loss alone", ONE, trained(ONE, {8: 1.0}, fall=0.2)),
    ("next_gain", "not_measured", "nothing was varied", ONE, {}),
    ("nf4_memory", "supported", "half of it", sized("fp16", {8: 10.0}) + sized("nf4", {8: 5.0}), {}),
    ("nf4_memory", "contradicted", "more of it", sized("fp16", {8: 5.0}) + sized("nf4", {8: 5.1}), {}),
    (
        "nf4_memory",
        "inconclusive",
        "within repeats",
        sized("fp16", {8: 5.04}, **HOST) + sized("nf4", {8: 5.0}, **HOST),
        {},
    ),
    ("nf4_memory", "not_measured", "other ranks", sized("fp16", {8: 10.0}) + sized("nf4", {16: 5.0}), {}),
    ("nf4_time", "supported", "longer", timed(fp16=[100, 110, 120], nf4=[121, 132, 145]), {}),
    ("nf4_time", "contradicted", "the same", timed(fp16=[100, 110, 120], nf4=[100, 110.5, 120]), {}),
    ("nf4_time", "inconclusive", "clocks that disagree", timed(fp16=[100, 110, 120], nf4=[90, 140, 121]), {}),
    ("nf4_time", "inconclusive", "one pair", timed(fp16=[100], nf4=[150]), {}),
    ("nf4_time", "not_measured", "one precision", timed(nf4=[100, 110]), {}),
    ("all_linear", "supported", "attention behind", targeted({"whole": 3.0, "attention": 3.3, "mlp": 3.0}), SETS),
    ("all_linear", "contradicted", "attention ahead", targeted({"whole": 3.0, "attention": 2.8}), SETS),
    ("all_linear", "contradicted", "level", targeted({"whole": 3.0, "attention": 3.0}), SETS | QUIET),
    ("all_linear", "inconclusive", "noise", targeted({"whole": 3.0, "attention": 3.03}), SETS | {"noise": 0.5}),
    (
        "all_linear",
        "inconclusive",
        "at an edge of the rates",
        [
            *tried("nf4", 8, 3.0, 2e-3, targets="whole"),
            *(one | {"run": f"{one['run']}-attention"} for one in tried("nf4", 8, 3.3, 8e-3, targets="attention")),
        ],
        SETS | QUIET,
    ),
    ("all_linear", "not_measured", "no set of the attention's", targeted({"whole": 3.0, "mlp": 3.3}), SETS),
    ("all_linear", "not_measured", "names alone", targeted({"whole": 3.0, "attention": 3.3}), {}),
    ("rate_of_rank", "supported", "the same", ranked({8: 2e-3, 32: 2e-3}, LEVEL), QUIET),
    ("rate_of_rank", "contradicted", "falls", ranked({8: 4e-3, 32: 1e-3}, LEVEL), QUIET),
    ("rate_of_rank", "contradicted", "rises", ranked({8: 1e-3, 32: 4e-3}, LEVEL), QUIET),
    ("rate_of_rank", "inconclusive", "noise", ranked({8: 4e-3, 32: 2e-3}, LEVEL, steep=0.001), {"noise": 0.3}),
    ("rate_of_rank", "inconclusive", "at an edge", ranked({8: 8e-3, 32: 1e-3}, LEVEL), QUIET),
    ("rate_of_rank", "not_measured", "one rate", curve("nf4", FALLING), {}),
    ("rate_of_rank", "not_measured", "one rank", tried("nf4", 8, 3.0, 2e-3), QUIET),
]
