"""What the server that forks jobs imports beforehand (`jobs/fork_server.py`)."""

import gc
import importlib
import importlib.util
import os
from collections.abc import Iterable
from contextlib import contextmanager

from frontier.machine.substitution import replaced

# Those of the modules that jobs import which make no call to CUDA. The import of bitsandbytes does, to learn the
# device, and many modules import bitsandbytes.
WITHOUT_CUDA = (
    "torch._inductor.compile_fx",
    "torch.distributed.tensor",
    "datasets",
    "pandas",
    "scipy.optimize",
    "transformers.generation",
)
# What `model.levers.fuse` imports.
KERNELS = "liger_kernel.transformers.monkey_patch"


def preload(names: Iterable[str]) -> None:
    """Import modules, for forks to have them."""
    # Without this torch starts CUDA when an import asks it whether there is CUDA, and no fork can use CUDA then.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    for name in names:
        importlib.import_module(name)
    # A fork shares the server's memory pages until one of them is written to. Garbage collection writes into the pages
    # of all objects that it looks at; frozen ones it leaves out.
    gc.freeze()


@contextmanager
def capabilities_by_driver():
    """Have torch tell the devices' compute capabilities by the driver while the block runs; CUDA is then not started.

    Devices are numbered as the driver numbers them, which need not be CUDA's order: bitsandbytes, which asks, only
    wants to know which capabilities there are. Raises NVMLError where the driver does not tell.
    """
    # Imported here, since each job's supervisor imports this module too, and would wait for these imports.
    import pynvml
    import torch

    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    known = [tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)) for handle in handles]
    pynvml.nvmlShutdown()
    with replaced(torch.cuda, "get_device_capability", lambda device=None: known[getattr(device, "idx", 0)]):
        yield
