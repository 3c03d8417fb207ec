"""The names of a study's runs, and what a name says."""

import itertools
import re

from frontier.errors import UserError

PRECISION_PATTERN = "fp32|bf16|fp16|nf4|fp4|int8"
RUN_PATTERN = rf"(?:{PRECISION_PATTERN})-r[1-9]\d*-s\d+"
RUN_NAME = re.compile(RUN_PATTERN)


def run_name(precision: str, rank: int, seed: int) -> str:
    """Return a run's name, say nf4-r16-s0."""
    return f"{precision}-r{rank}-s{seed}"


def parse_run(name: str) -> tuple[str, int, int]:
    """Return the precision, rank and seed that a run's name says; UserError for a text that is not such a name."""
    if not RUN_NAME.fullmatch(name):
        raise UserError(f"run: got {name}, takes PRECISION-rRANK-sSEED, say nf4-r16-s0")
    precision, rank, seed = name.split("-")
    return precision, int(rank[1:]), int(seed[1:])


def run_names(config: dict) -> list[str]:
    """Return the names of the grid's runs and of the extra ones, sorted by precision, rank and seed."""
    grid = itertools.product(config["precisions"], config["ranks"], config["seeds"])
    return [run_name(*run) for run in sorted([*grid, *map(parse_run, config["extra_runs"])])]


def precisions(config: dict) -> list[str]:
    """Return the precisions that the study's runs have, sorted; each has a base model and its baseline."""
    return sorted({parse_run(run)[0] for run in run_names(config)})
