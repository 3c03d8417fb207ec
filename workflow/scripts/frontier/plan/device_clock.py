"""Measure the seconds of work on the device that is there, with the launches of its kernels or without."""

import time

import torch

from frontier.machine.device import synchronize

# Seconds that a measurement lasts at least.
_SECONDS = 0.12
# How many times a captured CUDA graph does the work.
_REPEATS = 20


def clock(work, device: torch.device) -> float:
    """Return the device's seconds for `work`: on a card in a CUDA graph, so that no kernel waits for its launch."""
    if device.type != "cuda":
        return host_clock(work, device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(torch.cuda.Stream(device)):
        work()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream(device)):
            for _ in range(_REPEATS):
                work()
        return host_clock(graph.replay, device) / _REPEATS


def host_clock(work, device: torch.device) -> float:
    """Return the seconds that `work` takes when it is done again and again, launches included."""
    work()
    synchronize(device)
    count, seconds = 1, 0.0
    while True:
        start = time.perf_counter()
        for _ in range(count):
            work()
        synchronize(device)
        seconds = time.perf_counter() - start
        if seconds > _SECONDS:
            return seconds / count
        count = max(2 * count, int(count * _SECONDS / max(seconds, 1e-6)))
