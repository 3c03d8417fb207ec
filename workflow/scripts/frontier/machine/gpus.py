"""Which GPUs a machine has, and which of them a job may be given."""

import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from frontier.errors import UserError


def cuda_devices(root: Path = Path("/")) -> int:
    """Return how many NVIDIA GPUs Linux has device files of; one for WSL's shared device, none on other systems."""
    if platform.system() != "Linux":
        return 0
    files = [path for path in (root / "dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()]
    if files:
        return len(files)
    return int((root / "dev" / "dxg").exists() and shutil.which("nvidia-smi") is not None)


def may_spill(root: Path = Path("/")) -> bool:
    """Return whether the driver moves memory to the host when the device is full: those of Windows and WSL do."""
    return platform.system() == "Windows" or (root / "dev" / "dxg").exists()


def inventory(variables: Mapping[str, str], present: int) -> dict[str, str]:
    """Return the devices that a process may use: by the name of each on this host, its name in CUDA_VISIBLE_DEVICES.

    `variables` are the process's environment variables, `present` the number of devices in the machine, which counts
    where CUDA_VISIBLE_DEVICES is not set. Where Slurm names the job's devices, its names are the host's: it hides the
    other devices, so that CUDA counts from 0 in each job of a node.
    """
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(present)) if visible is None else map(str.strip, visible.split(","))
    known = []
    for name in names:
        if name in ("", "-1"):
            break
        known.append(name)
    bound = (variables.get("SLURM_STEP_GPUS") or variables.get("SLURM_JOB_GPUS") or "").split(",")
    return dict(zip(bound if all(bound) and len(bound) == len(known) else known, known, strict=True))


def wanted(device: str, found: dict[str, str], count: int = 1) -> list[str]:
    """Return the names of the devices, of those `found`, that a config's `device` (auto, cuda, cuda:N) may be.

    None for a CPU. Raises UserError where there are fewer than `count`.
    """
    kind, _, index = device.partition(":")
    if kind == "cpu" or (kind == "auto" and not found):
        return []
    if int(index or 0) >= len(found):
        raise UserError(f"device: got {device}, takes a device that is there; this job may use {len(found)} GPU(s)")
    if count > len(found):
        raise UserError(f"processes: got {count}, takes as many GPUs as are there; this job may use {len(found)}")
    return [list(found)[int(index)]] if index else list(found)
