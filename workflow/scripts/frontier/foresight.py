"""What a plan is good for: runs that need not be started, and how near it came to those that were."""

import statistics

from frontier.claims import CONTRADICTED, SUPPORTED, Results, claim, not_measured

# How far past a budget a prediction must be before a run is given up unseen: several times the planner's error.
MEMORY_MARGIN, TIME_MARGIN = 1.15, 1.5
NEAR, NEAR_TIME = {"cuda_allocated": 0.05, "host_rss": 0.15}, 0.25


def hopeless(row: dict, budget: dict) -> dict | None:
    """The outcome of a run that its plan's row puts far beyond the budget, or None where it should be started.

    `row` is a row of results/plan.csv, `budget` the config's section. The outcome's `basis` is `predicted`, so that
    it is never taken for a measured one. A run without a prediction is never hopeless.
    """
    peak, memory = row.get("predicted_peak_gib"), budget["memory_gib"]
    need = _known(peak) and peak + row["overhead_gib"]
    if need and memory and need > MEMORY_MARGIN * memory:
        return {
            "status": "oom",
            "phase": "load" if row["weights_gib"] > memory else "train",
            "basis": "predicted",
            "reason": f"predicted to need {need:.1f} GiB, the budget is {memory:g}; not started",
        }
    hours, limit = row.get("predicted_hours"), budget["hours"]
    if _known(hours) and hours and limit and hours > TIME_MARGIN * limit:
        return {
            "status": "over_time",
            "phase": "train",
            "basis": "predicted",
            "projected_hours": hours,
            "reason": f"predicted to take {hours:.1f} hours, the budget is {limit:g}; not started",
        }
    return None


def compared(row: dict, measured: dict) -> dict:
    """The plan's prediction for a run beside its measurement: `summary.csv`'s columns, None where one is missing.

    `measured` has summary.csv's steps, train_seconds, memory_metric, peak_allocated_gib and peak_host_gib. Allocated
    memory is compared with the predicted peak alone; resident memory with what the process holds beside it too. An
    error is predicted / measured - 1.
    """
    on_card = measured.get("memory_metric") == "cuda_allocated"
    peak = row.get("predicted_peak_gib") if _known(row.get("predicted_peak_gib")) else None
    if peak is not None and not on_card:
        peak += row["overhead_gib"]
    per_step, steps = row.get("predicted_seconds_per_step"), measured.get("steps")
    seconds = per_step * steps if _known(per_step) and _known(steps) else None
    memory = measured.get("peak_allocated_gib" if on_card else "peak_host_gib")
    return {
        "predicted_peak_gib": peak,
        "predicted_seconds": seconds,
        "predicted_peak_error": _error(peak, memory),
        "predicted_seconds_error": _error(seconds, measured.get("train_seconds")),
    }


def planner_accuracy(results: Results) -> dict:
    """Whether the plan came near every run that was measured: the claim of that name.

    Near is within 5% of allocated memory, 15% of resident memory, and 25% of time.
    """
    name, summary = "planner_accuracy", results.summary
    if "predicted_peak_error" not in summary:
        return not_measured(name, "no plan was made; snakemake results/plan.csv makes one")
    judged = summary.dropna(subset=["predicted_peak_error"])
    if judged.empty:
        return not_measured(name, "no run has both a prediction and a measurement")
    peaks = dict(zip(judged["run"], judged["predicted_peak_error"], strict=True))
    times = summary.dropna(subset=["predicted_seconds_error"]).set_index("run")["predicted_seconds_error"].to_dict()
    near = {run: NEAR[metric] for run, metric in zip(judged["run"], judged["memory_metric"], strict=True)}
    missed = [run for run, error in peaks.items() if abs(error) > near[run]]
    missed += [run for run, error in times.items() if abs(error) > NEAR_TIME and run not in missed]
    values = {"peak_errors": peaks, "seconds_errors": times}
    sentence = f"The plan's peak memory was off by {_percent(peaks)} on average and by at most {_worst(peaks)}"
    if times:
        sentence += f", its time by {_percent(times)} and at most {_worst(times)}"
    verdict = CONTRADICTED if missed else SUPPORTED
    return claim(name, verdict, f"{sentence}.", missed or peaks, values)


def _percent(errors: dict[str, float]) -> str:
    return f"{statistics.fmean(map(abs, errors.values())):.0%}"


def _worst(errors: dict[str, float]) -> str:
    return f"{max(errors.values(), key=abs):+.0%}"


def _error(predicted: float | None, measured: float | None) -> float | None:
    return predicted / measured - 1 if _known(predicted) and _known(measured) and measured else None


def _known(value) -> bool:
    """Whether a value of a table is there: neither None nor a table's not-a-number."""
    return value is not None and value == value
