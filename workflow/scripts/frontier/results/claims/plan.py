"""Judge whether the plan came near what was measured. docs/findings.md has the claim's rule."""

import statistics

from frontier.results.claims.claim import CONTRADICTED, INCONCLUSIVE, SUPPORTED, Evidence, claim, not_measured

# How far off a predicted peak may be, as a share of the measured one, by memory metric.
NEAR = {"cuda_allocated": 0.05, "host_rss": 0.15}
# How far off a predicted time may be, as a share of the measured one.
NEAR_TIME = 0.25


def planner_accuracy(results: Evidence) -> dict:
    """Judge whether the plan came near every run that was measured.

    Near is within 5% of what was held on the GPU, 15% of resident memory, and 25% of time.
    """
    name, summary = "planner_accuracy", results.summary
    judged = summary.dropna(subset=["predicted_peak_error"])
    if judged.empty:
        reason = "no run that was measured has a plan for its device; snakemake --cores 1 results/plan.csv makes one"
        return not_measured(name, reason)
    peaks = dict(zip(judged["run"], judged["predicted_peak_error"], strict=True))
    times = summary.dropna(subset=["predicted_seconds_error"]).set_index("run")["predicted_seconds_error"].to_dict()
    near = {run: NEAR[metric] for run, metric in zip(judged["run"], judged["memory_metric"], strict=True)}
    missed = [run for run, error in peaks.items() if abs(error) > near[run]]
    missed += [run for run, error in times.items() if abs(error) > NEAR_TIME and run not in missed]
    values = {"peak_errors": peaks, "seconds_errors": times}
    sentence = f"The plan's peak memory was off by {_percent(peaks)} on average and by at most {_worst(peaks)}"
    if times:
        sentence += f", its time by {_percent(times)} and at most {_worst(times)}"
    else:
        sentence += "; it foretold no time"
    verdict = CONTRADICTED if missed else SUPPORTED if times else INCONCLUSIVE
    return claim(name, verdict, f"{sentence}.", missed or peaks, values)


def _percent(errors: dict[str, float]) -> str:
    """Return the errors' mean size as a percentage."""
    return f"{statistics.fmean(map(abs, errors.values())):.0%}"


def _worst(errors: dict[str, float]) -> str:
    """Return the largest error, with its sign, as a percentage."""
    return f"{max(errors.values(), key=abs):+.0%}"
