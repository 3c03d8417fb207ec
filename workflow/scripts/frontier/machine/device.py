"""The device that a job computes on, and its threads."""

import os

import psutil
import torch


def physical_cores() -> int:
    """Return how many processor cores this process may use, hyper-threads not counted."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def open_device(name: str, cpu_threads: int | None, share: tuple[int, int] = (0, 1)) -> torch.device:
    """Return the torch device of a config's `device`, and set the number of torch's threads on the CPU.

    `auto` is a GPU where there is one. `share` is this process's index and how many processes share the training: each
    has a GPU of its own, and its part of the threads.
    """
    index, processes = share
    torch.set_num_threads(max(1, (cpu_threads or physical_cores()) // processes))
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device("cuda", index) if name.startswith("cuda") else torch.device(name)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all of its work, so that a clock that is read next counts it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
