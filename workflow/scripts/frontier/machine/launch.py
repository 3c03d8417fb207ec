"""What a job's process is launched with, and what can so change what is measured in it: variables and libraries."""

import os

from frontier import paths, progress
from frontier.machine import gpus, heap
from frontier.progress import EVENTS

# What cuBLAS takes on consumer cards anyway. On Hopper it would take four times that, for each thread.
_WORK_SPACE = {"CUBLAS_WORKSPACE_CONFIG": ":4096:2:16:8"}
# Segments that grow leave fewer holes, and on a small card the holes are what runs out.
_GROWING = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}


def allocation(variables: dict) -> dict:
    """How a card's memory is given out, where a user's `variables` do not say it.

    torch obeys the older PYTORCH_CUDA_ALLOC_CONF rather than the newer name. On WSL segments do not grow: on some cards
    its driver refuses their first allocation (pytorch/pytorch#192330).
    """
    is_settled = "PYTORCH_CUDA_ALLOC_CONF" in variables or gpus.may_spill()
    return _WORK_SPACE if is_settled else _WORK_SPACE | _GROWING


def job_variables(request: dict, claim=None) -> dict:
    """The environment of a job: its `devices.Claim` or one GPU at most, no telemetry, threads left to torch."""
    variables = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(paths.SCRIPTS), os.environ.get("PYTHONPATH")]))
    variables["TOKENIZERS_PARALLELISM"] = "false"
    variables["HF_HUB_DISABLE_TELEMETRY"] = "1"
    variables = allocation(variables) | variables
    on_cpu = request.get("device") == "cpu" or not gpus.cuda_devices()
    variables.setdefault(heap.VARIABLE, heap.settings(on_cpu))
    if claim:
        claimed = {progress.DEVICE_IDS: ",".join(claim.ids), "CUDA_VISIBLE_DEVICES": ",".join(claim.visible)}
        return variables | claimed
    index = int(request.get("device", "").partition(":")[2] or 0)
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    variables["CUDA_VISIBLE_DEVICES"] = str(index) if visible is None else visible.split(",")[index]
    return variables


def inherited_variables() -> dict:
    """The environment of a training's further processes: the first one's, but for its pipe of events."""
    return {name: value for name, value in os.environ.items() if name != EVENTS}
