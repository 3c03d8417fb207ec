"""What a job's process is launched with, and what can so change what is measured in it: variables and libraries."""

import gc
import importlib
import importlib.util
import os
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

from frontier import gpus, heap
from frontier.progress import EVENTS

# What cuBLAS takes on consumer cards anyway. On Hopper it would take four times that, for each thread.
_WORK_SPACE = {"CUBLAS_WORKSPACE_CONFIG": ":4096:2:16:8"}
# Segments that grow leave fewer holes, and on a small card the holes are what runs out.
_GROWING = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
# Those whose jobs import torch.
MODULES = tuple(f"frontier.{name}" for name in ("prepare", "training", "evaluation", "accuracy", "calibration", "plan"))
# What they import that leaves CUDA alone. bitsandbytes asks it for the device, and much imports bitsandbytes.
WITHOUT_CUDA = (
    "torch._inductor.compile_fx",
    "torch.distributed.tensor",
    "datasets",
    "pandas",
    "scipy.optimize",
    "transformers.generation",
)
# What `kernels.fuse` imports.
_KERNELS = "liger_kernel.transformers.monkey_patch"


def allocation(variables: dict) -> dict:
    """How a card's memory is given out, where a user's `variables` do not say it.

    torch obeys the older PYTORCH_CUDA_ALLOC_CONF rather than the newer name. On WSL segments do not grow: on some cards
    its driver refuses their first allocation (pytorch/pytorch#192330).
    """
    is_settled = "PYTORCH_CUDA_ALLOC_CONF" in variables or gpus.may_spill()
    return _WORK_SPACE if is_settled else _WORK_SPACE | _GROWING


def environment(request: dict, claim=None) -> dict:
    """The environment of a job: its `devices.Claim` or one GPU at most, no telemetry, threads left to torch."""
    variables = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    variables["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")])
    )
    variables["TOKENIZERS_PARALLELISM"] = "false"
    variables["HF_HUB_DISABLE_TELEMETRY"] = "1"
    variables = allocation(variables) | variables
    on_cpu = request.get("device") == "cpu" or not gpus.cuda_devices()
    variables.setdefault(heap.VARIABLE, heap.settings(on_cpu))
    if claim:
        claimed = {gpus.DEVICE_IDS: ",".join(claim.ids), "CUDA_VISIBLE_DEVICES": ",".join(claim.visible)}
        return variables | claimed
    index = int(request.get("device", "").partition(":")[2] or 0)
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    variables["CUDA_VISIBLE_DEVICES"] = str(index) if visible is None else visible.split(",")[index]
    return variables


def inherited() -> dict:
    """The environment of a training's further processes: the first one's, but for its pipe of events."""
    return {name: value for name, value in os.environ.items() if name != EVENTS}


def modules_of_cuda() -> tuple[str, ...]:
    """Those that jobs on a CUDA device import: the fused kernels' as well, where they are installed."""
    return MODULES + ((_KERNELS,) if importlib.util.find_spec("liger_kernel") else ())


def preload(names: Iterable[str]) -> None:
    """Import modules, for forks to have them."""
    # Else torch, asked whether there is CUDA, starts it.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    for name in names:
        importlib.import_module(name)
    # A collection would write into the pages of all that was imported, and each worker have a copy made of them.
    gc.freeze()


@contextmanager
def capabilities_by_driver():
    """While it is entered torch tells devices' capabilities by the driver: asking CUDA for them would start it.

    Devices are numbered as the driver does; bitsandbytes, which asks, wants to know what there is, in any order. Raises
    NVMLError where the driver does not tell.
    """
    # Here, since each job's supervisor imports this module, and waits for what it imports.
    from unittest import mock

    import pynvml

    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    known = [tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)) for handle in handles]
    pynvml.nvmlShutdown()
    with mock.patch("torch.cuda.get_device_capability", lambda device=None: known[getattr(device, "idx", 0)]):
        yield
