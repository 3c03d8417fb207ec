"""What precision and rank cost in memory and time: claims 1 to 3, 9 and 10. docs/findings.md has each claim's rule."""

import math

import numpy as np
import pandas as pd
from scipy import stats

from frontier.results.claims.claim import (
    CONTRADICTED,
    INCONCLUSIVE,
    NEGLIGIBLE_TIME,
    SPREAD_GIB,
    SUPPORTED,
    Evidence,
    claim,
    listing,
    not_measured,
    percents,
)
from frontier.results.derived import held_gib
from frontier.results.uncertainty import Interval

SPEEDUP = 10
# Without a second pair to say how far clocks vary, a ratio must be this much off ten to be judged.
_CLOCK_FACTOR = 1.5


def memory_state(row, limit: float) -> str | None:
    """Where a run's memory is: over or within a limit in GiB, or near it; None unknown.

    Near is what differs from the limit by no more than repeats do, and a run whose tensors are within it while what its
    process held is not: under that limit the allocator would have kept less.
    """
    peak, held = row["peak_memory_gib"], row["held_gib"]
    in_evaluation = row.get("phase") == "evaluate" and not pd.isna(peak)
    if row["status"] == "spilled" or (row["status"] == "oom" and not in_evaluation):
        return "over"
    if pd.isna(peak):
        return None
    spread = SPREAD_GIB.get(row["memory_metric"], 0)
    return "over" if peak > limit + spread else "within" if held <= limit - spread else "near"


def fp16_exceeds_budget(results: Evidence) -> dict:
    """Whether every 16-bit run's peak memory is above the memory budget."""
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
    """Whether every NF4 run's peak memory is inside the memory budget."""
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


def nf4_speedup(results: Evidence) -> dict:
    """Whether NF4 trains at least ten times as fast as 16-bit, over pairs of one rank, seed and device."""
    name, sixteen = "nf4_speedup", results.sixteen_bit
    # A spilled run's clock counts here and nowhere else: what spilling costs is what the claim is about.
    timed = results.summary[results.summary["status"].isin(["ok", "spilled"])].dropna(subset=["train_seconds"])
    pairs = timed[timed["precision"] == sixteen].merge(
        timed[timed["precision"] == "nf4"], on=["rank", "seed", "device"], suffixes=("_16", "_nf4")
    )
    if pairs.empty:
        return not_measured(name, "it takes a 16-bit and an NF4 run of one rank and seed that finished on one device")
    ratios = (pairs["train_seconds_16"] / pairs["train_seconds_nf4"]).to_numpy(float)
    interval = mean_interval(np.log(ratios), "pair of runs" if len(ratios) == 1 else "pairs of runs")
    ratio = math.exp(interval.estimate)
    low, high = (ratio / _CLOCK_FACTOR, ratio * _CLOCK_FACTOR)
    if len(ratios) > 1:
        low, high = np.exp([interval.low, interval.high])
    verdict = SUPPORTED if low >= SPEEDUP else CONTRADICTED if high < SPEEDUP else INCONCLUSIVE
    spilled = " The 16-bit clock includes spilling into host memory." if (pairs["status_16"] == "spilled").any() else ""
    ends = f" ({low:.2f} to {high:.2f}, {interval.basis})" if len(ratios) > 1 else " (one pair of runs, no interval)"
    devices = listing(sorted(pairs["device"].unique()))
    sentence = (
        f"NF4 trains {ratio:.2f} times as fast as {sixteen}{ends} on {devices}, where ten times was claimed.{spilled}"
    )
    record = None
    if len(ratios) > 1:
        record = {"estimate": ratio, "low": float(low), "high": float(high), "level": 0.95}
        record |= {"unit": "times as fast", "basis": interval.basis}
    values = {"ratio": dict(zip(pairs["run_nf4"], ratios, strict=True))}
    return claim(name, verdict, sentence, [*pairs["run_16"], *pairs["run_nf4"]], values, record)


def rank_time(results: Evidence) -> dict:
    """Whether the highest rank trains slower than the lowest, by a line through the logarithm of time over rank.

    Each precision on each device has a level of its own, so that times of unlike devices are never compared.
    """
    name = "rank_time"
    timed = results.summary[results.summary["status"] == "ok"].dropna(subset=["train_seconds"])
    cells = [rows for _, rows in timed.groupby(["precision", "device"]) if rows["rank"].nunique() > 1]
    if not cells:
        return not_measured(name, "it takes the time of two ranks at one precision on one device")
    timed = pd.concat(cells)
    low, high = int(timed["rank"].min()), int(timed["rank"].max())
    interval = slope(cells, "train_seconds", high - low)
    runs, values = list(timed["run"]), {"seconds": dict(zip(timed["run"], timed["train_seconds"], strict=True))}
    span = f"from rank {low} to {high}"
    if not math.isfinite(interval.low):
        sentence = f"Training time changes by {percents(interval)} {span}; there are too few runs for an interval."
        return claim(name, INCONCLUSIVE, sentence, runs, values)
    if interval.low > 0:
        verdict, word = SUPPORTED, "A higher rank takes longer"
    elif interval.high < NEGLIGIBLE_TIME:
        verdict, word = CONTRADICTED, "Rank costs no time that matters"
    else:
        verdict, word = INCONCLUSIVE, "What rank costs in time is lost in noise"
    record = {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
    record = {key: 100 * math.expm1(value) for key, value in record.items()}
    record |= {"level": 0.95, "unit": f"% of training time, {span}", "basis": interval.basis}
    return claim(name, verdict, f"{word}: {percents(interval)} {span}.", runs, values, record)


def rank_memory(results: Evidence) -> dict:
    """Whether the highest rank takes more memory than the lowest, by more than the spread of repeats.

    Compared at one precision, seed, device and metric. The spread is 0.05 GiB of resident memory, or what runs that
    differ in their seed alone show where that is more.
    """
    name, column = "rank_memory", "peak_memory_gib"
    measured = results.summary[results.summary["status"] == "ok"].dropna(subset=[column])
    alike = ["precision", "device", "memory_metric"]
    rows = []
    for _, cell in measured.groupby([*alike, "seed"]):
        if cell["rank"].nunique() > 1:
            rows.append((cell.loc[cell["rank"].idxmin()], cell.loc[cell["rank"].idxmax()]))
    if not rows:
        return not_measured(name, "it takes the memory of two ranks at one precision on one device")
    repeats = measured.groupby([*alike, "rank"])[column].agg(lambda peaks: peaks.max() - peaks.min())
    assumed = max(SPREAD_GIB.get(first["memory_metric"], 0) for first, _ in rows)
    spread = max(assumed, float(repeats.max()))
    differences = {last["run"]: float(last[column] - first[column]) for first, last in rows}
    low, high = min(differences.values()) - spread, max(differences.values()) + spread
    estimate = float(np.mean(list(differences.values())))
    if low > 0:
        verdict, word = SUPPORTED, "A higher rank takes more memory"
    elif high <= 0:
        verdict, word = CONTRADICTED, "A higher rank takes no more memory"
    else:
        verdict, word = INCONCLUSIVE, "What rank costs in memory does not exceed the spread of repeats"
    ranks = sorted({(int(first["rank"]), int(last["rank"])) for first, last in rows})
    span = listing(f"from rank {first} to {last}" for first, last in ranks)
    sentence = f"{word}: {estimate:+.3f} GiB {span} ({low:+.3f} to {high:+.3f}; repeats differ by {spread:.3f} GiB)."
    record = {"estimate": estimate, "low": low, "high": high, "level": None, "unit": "GiB"}
    record["basis"] = "least and most of the differences, widened by the spread of repeats"
    runs = [row["run"] for pair in rows for row in pair]
    return claim(name, verdict, sentence, runs, {"difference_gib": differences, "spread_gib": spread}, record)


def mean_interval(values: np.ndarray, basis: str) -> Interval:
    """Student's t interval of a mean; without ends for a single value."""
    count, estimate = len(values), float(np.mean(values))
    if count < 2:
        return Interval(estimate, -math.inf, math.inf, math.inf, f"{count} {basis}")
    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    half = float(stats.t.ppf(0.975, count - 1)) * error
    return Interval(estimate, estimate - half, estimate + half, error, f"{count} {basis}")


def slope(cells: list[pd.DataFrame], column: str, reach: float) -> Interval:
    """The change of a column's logarithm over `reach` ranks, by least squares with a level of its own for each cell."""
    rank = np.concatenate([cell["rank"] - cell["rank"].mean() for cell in cells]).astype(float)
    logs = [np.log(cell[column].to_numpy(float)) for cell in cells]
    change = np.concatenate([log - log.mean() for log in logs])
    estimate = float(rank @ change / (rank @ rank))
    freedom = len(rank) - len(cells) - 1
    basis = f"{len(rank)} runs"
    if freedom < 1:
        return Interval(reach * estimate, -math.inf, math.inf, math.inf, basis)
    error = math.sqrt(float(((change - estimate * rank) ** 2).sum()) / freedom / float(rank @ rank))
    half = float(stats.t.ppf(0.975, freedom)) * error
    return Interval(reach * estimate, reach * (estimate - half), reach * (estimate + half), reach * error, basis)


def _against_budget(results: Evidence, name: str, precision, all_of: str, none_of: str, words: dict) -> dict:
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
    peaks, held = (judged.set_index("run")[name].astype(float).to_dict() for name in ("peak_memory_gib", "held_gib"))
    known = [peak for peak in peaks.values() if not math.isnan(peak)]
    reached = f"peaks of {min(known):.2f} to {max(known):.2f} GiB" if known else "no peak measured"
    most = judged["held_gib"].max()
    if known and most > max(known):
        reached += f", up to {most:.2f} held with CUDA's context and what the allocator keeps"
    lost = [run for run, status in zip(rows["run"], rows["status"], strict=True) if status in ("oom", "spilled")]
    ended = f", and {listing(lost)} ran out of memory" if lost else ""
    start = words[verdict].format(budget=f"the memory budget of {limit:g} GiB")
    sentence = f"{start}: {reached}{ended}."
    values = {"budget_gib": limit, "peak_gib": peaks, "held_gib": held, "state": states}
    return claim(name, verdict, sentence, rows["run"], values)
