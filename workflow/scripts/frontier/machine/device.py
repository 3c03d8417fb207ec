"""The device that a job computes on, and its threads."""

import os
from pathlib import Path

import psutil
import torch

from frontier.errors import UserError, first_line
from frontier.machine import control_groups, gpus


def physical_cores(root: Path = Path("/")) -> int:
    """Return how many processor cores this process may use at once, hyper-threads not counted.

    Where a control group allows 2.5 cores, they are two: a step waits for its slowest thread, which would be the one on
    half a core. `root` is the folder that has `proc` and `sys`.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = control_groups.cpus(root)
    return max(1, int(min(allowed, psutil.cpu_count(logical=False) or allowed, allowed if quota is None else quota)))


def open_device(name: str, cpu_threads: int | None, share: tuple[int, int] = (0, 1)) -> torch.device:
    """Return the torch device of a config's `device`, and set the number of torch's threads on the CPU.

    `auto` is a GPU where this process may use one. `share` is this process's index and how many processes share the
    training: each has a GPU of its own, and its part of the threads. Raises UserError where torch cannot use the GPU
    that is there, or that was asked for.
    """
    index, processes = share
    torch.set_num_threads(max(1, (cpu_threads or physical_cores()) // processes))
    if name == "cpu" or (name == "auto" and _is_cpu_alone()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError(
            f"device: got {name}, and torch {torch.__version__} cannot use the GPU ({_cuda_error()}); mend the driver "
            "or torch (envs/cuda.txt), or take device: cpu"
        )
    return torch.device("cuda", index)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all of its work, so that a clock that is read next counts it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _is_cpu_alone() -> bool:
    """Return whether `auto` is the CPU: there is no GPU that this process may use, and torch finds none either."""
    return not gpus.usable(os.environ, gpus.cuda_devices()) and not torch.cuda.is_available()


def _cuda_error() -> str:
    """Return why torch cannot use CUDA, in its own words."""
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:
        return first_line(error)
    return "torch.cuda.is_available() is False"
