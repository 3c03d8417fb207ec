"""Compare what a plan predicted of a run with what was measured of it."""

from collections.abc import Mapping
from typing import Any

from frontier.study import cards
from frontier.units import is_there


def is_for(planned: str | None, device: str | None) -> bool:
    """Return whether a plan's device is the one that a run was measured on, by their names."""
    return is_there(planned) and is_there(device) and cards.normalised_name(planned) == cards.normalised_name(device)


def compared(row: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the summary's columns that set the plan's prediction for a run against its measurement.

    `row` is the plan's; `measured` has the summary's steps, train_seconds, memory_metric, peak_held_gib and
    peak_host_gib. The predicted peak is compared with what it foretells, all that the process held: on its GPU, or of
    the host's memory. An error is predicted / measured - 1. What is missing on either side is None.
    """
    peak = row.get("predicted_peak_gib") if is_there(row.get("predicted_peak_gib")) else None
    if peak is not None and "allocated_gib" not in row:
        # Plans made before this column had the tensors' peak under the other's name.
        peak += row["overhead_gib"]
    per_step, steps = row.get("predicted_seconds_per_step"), measured.get("steps")
    seconds = per_step * steps if is_there(per_step) and is_there(steps) else None
    memory = measured.get("peak_held_gib" if measured.get("memory_metric") == "cuda_allocated" else "peak_host_gib")
    return {
        "predicted_peak_gib": peak,
        "predicted_seconds": seconds,
        "predicted_peak_error": _error(peak, memory),
        "predicted_seconds_error": _error(seconds, measured.get("train_seconds")),
    }


def _error(predicted: float | None, measured: float | None) -> float | None:
    """Return predicted / measured - 1, or None where one of them is missing."""
    return predicted / measured - 1 if is_there(predicted) and is_there(measured) and measured else None
