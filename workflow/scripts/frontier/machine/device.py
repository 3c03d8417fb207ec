"""The device that a job computes on, and its threads."""

import os

import psutil
import torch


def physical_cores() -> int:
    """The processor cores this process may use, hyper-threads not counted."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def open_device(name: str, cpu_threads: int | None, share: tuple[int, int] = (0, 1)) -> torch.device:
    """The torch device of a config's `device`, with torch told its threads. `auto` is a GPU where there is one.

    `share` says which process of how many this is: each has a GPU of its own, and its part of the threads.
    """
    rank, processes = share
    torch.set_num_threads(max(1, (cpu_threads or physical_cores()) // processes))
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device("cuda", rank) if name.startswith("cuda") else torch.device(name)


def synchronize(device: torch.device) -> None:
    """Wait for the device, so that a clock read next has all of its work behind it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
