"""The environment variables that a job's process is started with: they can change what is measured in it."""

import os
from collections.abc import Mapping
from typing import Any

from frontier import paths
from frontier.machine import gpus, heap, shell
from frontier.progress import DEVICE_IDS, EVENTS

# The work space of cuBLAS (pairs of KiB and count) that is its default on consumer cards. On Hopper its default is four
# times as much, for each thread.
_WORK_SPACE = {"CUBLAS_WORKSPACE_CONFIG": ":4096:2:16:8"}
# Allocator segments that can grow leave fewer holes. On a small card a tensor often fails for want of one hole that is
# large enough.
_GROWING = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}


def allocation(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that say how a card's memory is given out, beside a user's own `variables`.

    Where a user has set the older PYTORCH_CUDA_ALLOC_CONF, which torch obeys rather than the newer name, that stands.
    On WSL segments do not grow: on some cards its driver refuses their first allocation (pytorch/pytorch#192330).
    """
    is_settled = "PYTORCH_CUDA_ALLOC_CONF" in variables or gpus.may_spill()
    return _WORK_SPACE if is_settled else _WORK_SPACE | _GROWING


def job_variables(request: Mapping[str, Any], claim=None) -> dict[str, str]:
    """Return the environment variables of a job's process: the shell's, but for those that could change its result.

    No telemetry, the number of threads left to torch, and UTF-8 whatever the locale.

    `claim`, a `device_locks.Claim`, names the devices that it sees; without one it sees one GPU at most.
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
    """Return the environment variables of a training's further processes: the first one's, but for its event pipe."""
    return {name: value for name, value in os.environ.items() if name != EVENTS}
