"""The memory of a CUDA device as the driver counts it (NVML): how much is in use, and how much of that by this process.

A memory budget and the detection of spilling need all that this process holds. CUDA tells what all processes together
have in use, torch what its allocator holds; only the driver may tell what one process has. Under Windows and WSL it
does not, and in a container its process numbers may be others than the container's. So each figure says where it is
from.
"""

import os
from contextlib import contextmanager
from dataclasses import dataclass

import pynvml
import torch

# The three sources of a figure, in a record's words, the most reliable first.
PROCESS = "this process, by NVML"
RISE = "the device's rise as the context was made, by NVML"
DEVICE = "the whole device: other processes count too"
# The errors of NVML's functions where there is no NVML, or where it does not tell.
_UNAVAILABLE = (pynvml.NVMLError, pynvml.NVMLLibraryMismatchError)
# Bytes. No CUDA context is smaller: if the device's use rises by less, the context was there before.
_LEAST_CONTEXT = 2**25
# CUDA's total of a device's memory is at least this share of NVML's, since CUDA leaves a few percent to the driver. A
# slice of a card (MIG) is an eighth to a half of it, so where CUDA's total is a smaller share, CUDA has a slice.
_LEAST_SHARE = 0.8


@dataclass(frozen=True)
class Use:
    """Bytes of a device: in all, free, and this process's `own`, which is None where the driver does not tell."""

    total: int
    free: int
    own: int | None


class Meter:
    """The meter of what this process has on a CUDA device, apart from what other processes have there.

    Make it before the process puts anything on the device. `outside` is what the process has there beside torch's
    allocator, in bytes: the context, kernels, captured graphs. `source` says how that is known. `trusted` is False
    where the figure may count other processes' memory too.
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
        """Return the device's memory now, by NVML where it is there, else by CUDA."""
        if self._handle is None:
            free, total = torch.cuda.mem_get_info(self.device)
            return Use(total, free, None)
        total, free = _memory(self._handle)
        return Use(total, free, own_bytes(_processes(self._handle), os.getpid(), self.reserved))

    def held(self, use: Use) -> int:
        """Return the bytes that this process has on the device: by the driver, or else what is known to be its own."""
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
        """Update `outside` by what the block allocates or frees on the device beside torch's allocator."""
        torch.cuda.synchronize(self.device)
        before, reserved = self.read(), self.reserved
        yield
        torch.cuda.synchronize(self.device)
        self.outside = moved_outside(self.outside, before, self.read(), reserved, self.reserved)


def open_meter(device: torch.device) -> Meter | None:
    """Return a meter of a CUDA device; None for any other device."""
    return Meter(device) if device.type == "cuda" else None


def find_handle(nvml, uuid: str, total: int):
    """Return NVML's handle of the device that CUDA knows by `uuid` and `total` bytes, or None; `nvml` is the module.

    The device is found by its UUID, since CUDA_VISIBLE_DEVICES renumbers devices and may name slices of one (MIG). For
    a slice the handle of the whole card is of no use, since its figures are the card's.
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
    """Return the bytes of the process `pid` by the driver's list of (pid, bytes), or None where the list does not tell.

    Fewer bytes than the process's allocator has `reserved` are another process's: in a container the list may have the
    host's process numbers.
    """
    found = [size for number, size in processes if number == pid and size is not None]
    return found[0] if found and found[0] >= reserved else None


def outside_allocator(now: Use, before: int | None, reserved: int) -> tuple[int, str]:
    """Return the bytes that this process has beside its allocator's `reserved` ones, and the source of that figure.

    `before` is what the device had in use, in bytes, before the process's context was made; None where it is not known.
    """
    if now.own is not None:
        return now.own - reserved, PROCESS
    used = now.total - now.free
    if before is not None and used - before - reserved >= _LEAST_CONTEXT:
        return used - before - reserved, RISE
    return used - reserved, DEVICE


def moved_outside(outside: int, before: Use, after: Use, reserved: int, reserved_after: int) -> int:
    """Return the new value of `outside` after two readings: by the driver's count, or by the device's free memory.

    `reserved` and `reserved_after` are what torch's allocator held at the two readings; all are bytes.
    """
    if after.own is not None:
        return after.own - reserved_after
    return max(0, outside + (before.free - after.free) - (reserved_after - reserved))


def _memory(handle) -> tuple[int, int]:
    """Return total and free bytes; where the driver tells how many it keeps for itself, the total is without those."""
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except _UNAVAILABLE:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return memory.total, memory.free
    return memory.total - memory.reserved, memory.free


def _processes(handle) -> list[tuple[int, int | None]]:
    """Return the driver's list of processes on the device, as (pid, bytes)."""
    try:
        return [(one.pid, one.usedGpuMemory) for one in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    except _UNAVAILABLE:
        return []
