"""The environment variables that a job's process is started with, since they can change what is measured in it."""

import os
from collections.abc import Mapping
from typing import Any

from frontier import paths
from frontier.machine import gpus, heap, shell
from frontier.progress import DEVICE_IDS, EVENTS

# cuBLAS's work space, as pairs of a size in KiB and a count: its default on consumer cards, asked for on all cards. On
# Hopper the default is four times as much, for each thread.
_WORK_SPACE = {"CUBLAS_WORKSPACE_CONFIG": ":4096:2:16:8"}
# The segments of torch's allocator can then grow, which leaves fewer holes. On a small card there is often enough free
# memory in all, and no hole that is large enough for the next tensor.
_GROWING = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}


def allocation(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that say how a card's memory is given out, beside a user's own `variables`.

    Where the user has set PYTORCH_CUDA_ALLOC_CONF, the older name, which torch prefers, that is left as it is.
    On WSL segments do not grow: on some cards its driver refuses their first allocation (pytorch/pytorch#192330).
    """
    is_settled = "PYTORCH_CUDA_ALLOC_CONF" in variables or gpus.may_spill()
    return _WORK_SPACE if is_settled else _WORK_SPACE | _GROWING


def job_variables(request: Mapping[str, Any], claim=None) -> dict[str, str]:
    """Return a job's environment variables: the user's, without those that could change its result, and ours.

    Ours switch telemetry and the tokenizers' threads off, have text be UTF-8 whatever the locale, say how memory is
    allocated, and name the devices: those of `claim`, a `device_locks.Claim`; without one a single GPU at most.
    """
    variables = shell.for_jobs(os.environ)
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(paths.SCRIPTS), os.environ.get("PYTHONPATH")]))
    variables["TOKENIZERS_PARALLELISM"] = "false"
    variables["HF_HUB_DISABLE_TELEMETRY"] = "1"
    variables["PYTHONUTF8"] = "1"
    variables = allocation(variables) | variables
    on_cpu = request.get("device") == "cpu" or not gpus.usable(variables, gpus.cuda_devices())
    variables.setdefault(heap.VARIABLE, heap.settings(on_cpu))
    if claim:
        claimed = {DEVICE_IDS: ",".join(claim.ids), "CUDA_VISIBLE_DEVICES": ",".join(claim.visible)}
        return variables | claimed
    index = int(request.get("device", "").partition(":")[2] or 0)
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    variables["CUDA_VISIBLE_DEVICES"] = str(index) if visible is None else visible.split(",")[index]
    return variables


def inherited_variables() -> dict[str, str]:
    """Return the variables for processes that a job starts itself: its own, without its pipe of events."""
    return {name: value for name, value in os.environ.items() if name != EVENTS}
