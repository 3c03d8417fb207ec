"""Which GPUs a machine has, and which of them a job may be given."""

import platform
import shutil
from pathlib import Path

from frontier.errors import UserError


def cuda_devices(root: Path = Path("/")) -> int:
    """How many NVIDIA GPUs the system shows: device files on Linux, one for WSL's shared device, none elsewhere."""
    if platform.system() != "Linux":
        return 0
    files = [path for path in (root / "dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()]
    if files:
        return len(files)
    return int((root / "dev" / "dxg").exists() and shutil.which("nvidia-smi") is not None)


def may_spill(root: Path = Path("/")) -> bool:
    """Whether the driver moves device memory to the host where it does not suffice: those of Windows and WSL do."""
    return platform.system() == "Windows" or (root / "dev" / "dxg").exists()


def inventory(variables: dict, present: int) -> dict[str, str]:
    """The devices that a process may use, by their names on this host: what CUDA_VISIBLE_DEVICES calls each.

    `variables` is an environment, `present` the number of devices in the machine, for one that names none. Slurm's
    names come first: where it hides the other devices, CUDA counts from 0 in every job of a node.
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
    """The names of those that a config's `device` (auto, cuda, cuda:N) may be; UserError where too few are there."""
    kind, _, index = device.partition(":")
    if kind == "cpu" or (kind == "auto" and not found):
        return []
    if int(index or 0) >= len(found):
        raise UserError(f"device: got {device}, takes a device that is there; this job may use {len(found)} GPU(s)")
    if count > len(found):
        raise UserError(f"processes: got {count}, takes as many GPUs as are there; this job may use {len(found)}")
    return [list(found)[int(index)]] if index else list(found)
