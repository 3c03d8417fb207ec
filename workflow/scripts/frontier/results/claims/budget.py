"""Judge whether runs keep the memory budget. docs/findings.md has each claim's rule."""

import math

import pandas as pd

from frontier.results.claims.claim import (
    CONTRADICTED,
    INCONCLUSIVE,
    SPREAD_GIB,
    SUPPORTED,
    Evidence,
    claim,
    listing,
    not_measured,
)
from frontier.results.derived import held_gib


def fp16_exceeds_budget(results: Evidence) -> dict:
    """Judge whether every 16-bit run's peak memory is above the memory budget."""
    return _against_budget(
        results,
        "fp16_exceeds_budget",
        results.sixteen_bit,
        all_of="over",
        none_of="within",
        words={
            SUPPORTED: "16-bit LoRA exceeds {budget} in every run",
            CONTRADICTED: "16-bit LoRA fits {budget}",
            INCONCLUSIVE: "16-bit LoRA cannot be told to exceed {budget}",
        },
    )


def nf4_within_budget(results: Evidence) -> dict:
    """Judge whether every NF4 run's peak memory is inside the memory budget."""
    return _against_budget(
        results,
        "nf4_within_budget",
        "nf4",
        all_of="within",
        none_of="over",
        words={
            SUPPORTED: "Every NF4 run stays within {budget}",
            CONTRADICTED: "NF4 does not always stay within {budget}",
            INCONCLUSIVE: "Not every NF4 run can be told to stay within {budget}",
        },
    )


def memory_state(row, limit: float) -> str | None:
    """Return where a run's memory is: over or within a limit in GiB, or near it; None where that is not known.

    Near is a peak that differs from the limit by no more than repeats do. Near is also a run whose tensors are within
    the limit while all that its process held is not: under that limit the allocator would have kept less.
    """
    peak, held = row["peak_memory_gib"], row["held_gib"]
    in_evaluation = row.get("phase") == "evaluate" and not pd.isna(peak)
    if row["status"] == "spilled" or (row["status"] == "oom" and not in_evaluation):
        return "over"
    if pd.isna(peak):
        return None
    spread = SPREAD_GIB.get(row["memory_metric"], 0)
    return "over" if peak > limit + spread else "within" if held <= limit - spread else "near"


def _against_budget(results: Evidence, name: str, precision, all_of: str, none_of: str, words: dict) -> dict:
    """Return the claim that every run of a precision is `all_of` the budget; one that is `none_of` contradicts it."""
    limit, rows = results.budget["memory_gib"], results.rows(precision)
    if limit is None:
        return not_measured(name, "the configuration sets no memory budget", rows["run"])
    judged = rows.assign(held_gib=held_gib(rows))
    states = {row["run"]: memory_state(row, limit) for _, row in judged.iterrows()}
    if not any(states.values()):
        return not_measured(name, f"no run of {precision or '16 bits'} measured its memory", rows["run"])
    if none_of in states.values():
        verdict = CONTRADICTED
    else:
        verdict = SUPPORTED if set(states.values()) == {all_of} else INCONCLUSIVE
    by_run = judged.set_index("run")
    peaks, held = (by_run[column].astype(float).to_dict() for column in ("peak_memory_gib", "held_gib"))
    start = words[verdict].format(budget=f"the memory budget of {limit:g} GiB")
    values = {"budget_gib": limit, "peak_gib": peaks, "held_gib": held, "state": states}
    return claim(name, verdict, f"{start}: {_reached(judged)}.", rows["run"], values)


def _reached(judged: pd.DataFrame) -> str:
    """Return how much memory the runs took, and which of them ran out of it, in words."""
    known = [peak for peak in judged["peak_memory_gib"].astype(float) if not math.isnan(peak)]
    reached = f"peaks of {min(known):.2f} to {max(known):.2f} GiB" if known else "no peak measured"
    most = judged["held_gib"].max()
    if known and most > max(known):
        reached += f", up to {most:.2f} held with CUDA's context and what the allocator keeps"
    lost = list(judged.loc[judged["status"].isin(["oom", "spilled"]), "run"])
    return f"{reached}, and {listing(lost)} ran out of memory" if lost else reached
