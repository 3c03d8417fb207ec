"""Device memory as the driver counts it (NVML): what a CUDA device has in use, and what of that is this process's.

CUDA and torch tell what the device has in use by any process, or what torch's allocator holds; a budget and the
detection of spilling need what lies between. The driver does not tell it everywhere: under Windows and WSL it knows no
process's memory, and in a container it may number the processes otherwise. So each figure says where it is from.
"""

import os
from contextlib import contextmanager
from dataclasses import dataclass

import pynvml
import torch

PROCESS = "this process, by NVML"
RISE = "the device's rise as the context was made, by NVML"
DEVICE = "the whole device: other processes count too"
_UNAVAILABLE = (pynvml.NVMLError, pynvml.NVMLLibraryMismatchError)
# No context is smaller; a lesser rise says that it was there before.
_LEAST_CONTEXT = 2**25
# Of NVML's total, CUDA leaves a few percent to the driver; of a whole card, a slice (MIG) is an eighth to a half.
_LEAST_SHARE = 0.8


@dataclass(frozen=True)
class Use:
    """Bytes that a device has and has free, and that this process has there; None where the driver does not tell."""

    total: int
    free: int
    own: int | None


class Meter:
    """What this process has on a CUDA device, whatever its neighbours have; made before anything else is put there.

    `outside` is what it has beside torch's allocator, in bytes: the context, kernels, recorded graphs. `source` says
    how that is known, and `trusted` whether it is sure to be this process's own.
    """

    def __init__(self, device: torch.device):
        self.device = device
        properties = torch.cuda.get_device_properties(device)
        self._handle = find_handle(pynvml, str(properties.uuid), properties.total_memory)
        before = None
        if self._handle is not None:
            total, free = _memory(self._handle)
            before = total - free
        torch.zeros(1, device=device)
        torch.cuda.synchronize(device)
        now = self.read()
        self.outside, self.source = outside_allocator(now, before, self.reserved)

    @property
    def trusted(self) -> bool:
        return self.source != DEVICE

    @property
    def reserved(self) -> int:
        return torch.cuda.memory_reserved(self.device)

    @property
    def allocated(self) -> int:
        return torch.cuda.memory_allocated(self.device)

    def read(self) -> Use:
        """The device's memory now, by NVML where it is there, else by CUDA."""
        if self._handle is None:
            free, total = torch.cuda.mem_get_info(self.device)
            return Use(total, free, None)
        total, free = _memory(self._handle)
        return Use(total, free, own_bytes(_processes(self._handle), os.getpid(), self.reserved))

    def held(self, use: Use) -> int:
        """What this process has on the device, in bytes: as the driver says, or else as far as it is sure."""
        if use.own is not None:
            return use.own
        return self.reserved + (self.outside if self.trusted else 0)

    def limit(self, size: int) -> None:
        """Have torch's allocator refuse to hold more than `size` bytes."""
        total = torch.cuda.get_device_properties(self.device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, max(0, size) / total), self.device)

    def release(self) -> None:
        """Give back what torch's allocator holds and does not use."""
        torch.cuda.empty_cache()

    @contextmanager
    def watch(self):
        """Count in `outside` what the block takes, or gives back, beside torch's allocator."""
        torch.cuda.synchronize(self.device)
        before, reserved = self.read(), self.reserved
        yield
        torch.cuda.synchronize(self.device)
        self.outside = moved_outside(self.outside, before, self.read(), reserved, self.reserved)


def open_meter(device: torch.device) -> Meter | None:
    """The meter of a CUDA device; None for others, which have none."""
    return Meter(device) if device.type == "cuda" else None


def find_handle(nvml, uuid: str, total: int):
    """NVML's handle of the device that CUDA knows by `uuid` and `total` bytes, or None; `nvml` is the module.

    By its UUID, since CUDA_VISIBLE_DEVICES renumbers devices and may name slices of one (MIG). A handle of the whole
    card that a slice is of is none: its figures are not the slice's.
    """
    try:
        nvml.nvmlInit()
    except _UNAVAILABLE:
        return None
    for kind in ("GPU-", "MIG-"):
        try:
            handle = nvml.nvmlDeviceGetHandleByUUID(kind + uuid)
            if total >= _LEAST_SHARE * nvml.nvmlDeviceGetMemoryInfo(handle).total:
                return handle
        except _UNAVAILABLE:
            continue
    return None


def own_bytes(processes: list[tuple[int, int | None]], pid: int, reserved: int) -> int | None:
    """What the process `pid` has in the driver's list of (pid, bytes), or None where the list does not tell.

    Less than its allocator has `reserved` is another's: in a container the list may have the host's numbers.
    """
    found = [size for number, size in processes if number == pid and size is not None]
    return found[0] if found and found[0] >= reserved else None


def outside_allocator(now: Use, before: int | None, reserved: int) -> tuple[int, str]:
    """What a process has beside its allocator's `reserved` bytes, and the source of that.

    `before` is what the device had in use before the process's context was made, None where nothing told.
    """
    if now.own is not None:
        return now.own - reserved, PROCESS
    used = now.total - now.free
    if before is not None and used - before - reserved >= _LEAST_CONTEXT:
        return used - before - reserved, RISE
    return used - reserved, DEVICE


def moved_outside(outside: int, before: Use, after: Use, reserved: int, reserved_after: int) -> int:
    """`outside` after something happened: by the driver's count of this process, or by the device's free memory."""
    if after.own is not None:
        return after.own - reserved_after
    return max(0, outside + (before.free - after.free) - (reserved_after - reserved))


def _memory(handle) -> tuple[int, int]:
    """Total and free bytes, without what the driver keeps from every process where it tells of that."""
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except _UNAVAILABLE:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return memory.total, memory.free
    return memory.total - memory.reserved, memory.free


def _processes(handle) -> list[tuple[int, int | None]]:
    try:
        return [(one.pid, one.usedGpuMemory) for one in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    except _UNAVAILABLE:
        return []
