"""What a process imports before jobs are forked from it."""

import gc
import importlib
import importlib.util
import os
from collections.abc import Iterable
from contextlib import contextmanager

from frontier.machine.substitution import replaced

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
KERNELS = "liger_kernel.transformers.monkey_patch"


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
    import pynvml
    import torch

    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    known = [tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)) for handle in handles]
    pynvml.nvmlShutdown()
    with replaced(torch.cuda, "get_device_capability", lambda device=None: known[getattr(device, "idx", 0)]):
        yield
