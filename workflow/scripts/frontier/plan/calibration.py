"""Measure the device that is there in under a minute: its rates, what CUDA's context takes, and write them down."""

import time
from contextlib import nullcontext
from pathlib import Path

import torch

from frontier import records
from frontier.machine import environment
from frontier.machine.device import open_device
from frontier.machine.limits import memory_of
from frontier.machine.meter import PROCESS, open_meter
from frontier.plan.rates import measure_device
from frontier.request_types import DeviceRequest, Job
from frontier.study import cards
from frontier.units import GIB


def calibrate_device(job: Job[DeviceRequest]) -> None:
    """Write results/calibration.json: the device, what a context takes of it, its rates, and how long it took."""
    start = time.perf_counter()
    device = open_device(job["request"]["device"], job["request"]["cpu_threads"])
    meter = open_meter(device)
    with meter.watch() if meter else nullcontext():
        rates = measure_device(device)
    card = present(device)
    figures = {key: card[key] for key in ("name", "memory_gib", "capability")}
    if meter and meter.source == PROCESS:
        # Only where the driver tells what this process has: the use of the whole device changes with other processes.
        figures["context_gib"] = meter.outside / GIB
    seconds = time.perf_counter() - start
    records.write_json(job["output"]["calibration"], figures | {"seconds": seconds, "rates": rates})
    fastest = max(rate for points in rates["matmul"].values() for _, rate in points)
    print(
        f"{card['name']}: products {fastest / 1e12:.2f} TFLOP/s, memory {rates['traffic'][-1][1] / 1e9:.0f} GB/s, "
        f"{rates['launch_seconds'] * 1e6:.0f} us a launch; measured in {seconds:.0f} s",
        flush=True,
    )


def figures_here(device: torch.device) -> dict:
    """Return the figures of the device that is there, with its rates where results/calibration.json is of it."""
    card = present(device)
    path = Path("results/calibration.json")
    known = records.read_json(path) if path.exists() else {}
    if known.get("name") != card["name"]:
        return card
    return card | {key: known[key] for key in ("rates", "context_gib") if key in known}


def present(device: torch.device) -> dict:
    """Return the figures of the device that is there, named as in a run's record; of a known card, its speed too."""
    seen = environment.describe_environment(device, environment.utc_now())
    memory = seen.get("device_gib") or memory_of(device) / GIB
    capability = list(torch.cuda.get_device_capability(device)) if device.type == "cuda" else None
    known = {cards.normalised_name(name): card for name, card in cards.table().items()}
    figures = {"name": seen["device"], "memory_gib": memory, "capability": capability}
    return known.get(cards.normalised_name(seen["device"]), {}) | figures
