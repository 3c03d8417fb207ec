"""Plan several things at once: in a process for each core, which share this one's memory where they can be had."""

import gc
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

import torch

from frontier.machine.device import physical_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

# What the processes do, and to what: theirs from the fork on, so that nothing of it is sent.
_shared: dict[str, Any] = {}


def results_of(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
    """Yield the place of each item and what `work` returns of it, as soon as that is known."""
    cores = min(physical_cores(), len(items))
    if sys.platform != "linux" or torch.cuda.is_initialized() or cores < 2:
        yield from ((place, work(item)) for place, item in enumerate(items))
        return
    torch.set_num_threads(1)
    _shared.update(work=work, items=items)
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("fork")) as pool:
        jobs = {pool.submit(_do, place): place for place in range(len(items))}
        for done in as_completed(jobs):
            yield jobs[done], done.result()


def _do(place: int) -> Any:
    torch.set_num_threads(1)
    gc.freeze()
    return _shared["work"](_shared["items"][place])
