"""What this machine's CPU is, and what it multiplies fast."""

import platform
from pathlib import Path

import torch


def name() -> str:
    """Return the CPU's name, as the system has it."""
    return _told("model name") or platform.processor() or platform.machine()


def multiplies_bfloat16() -> bool:
    """Return whether the CPU has products of bfloat16 that are faster than those of float32, by what it says it has.

    AMX has. AVX512_BF16 has on AMD's processors, not on Intel's: on a Xeon whose AMX was hidden from a virtual machine,
    products took 1.5 times as long as in float32 (docs/performance.md).
    """
    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    by_amd = _told("vendor_id") == "AuthenticAMD"
    return bool(has.get("amx_bf16") or (has.get("avx512_bf16") and by_amd))


def _told(key: str) -> str | None:
    """Return what Linux tells of the first CPU under a key; None where it does not."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), None)
