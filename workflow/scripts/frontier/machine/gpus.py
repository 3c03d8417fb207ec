"""Which GPUs a machine has, and which of them a job may be given."""

import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from frontier.errors import UserError

# Values of CUDA_VISIBLE_DEVICES by which a user, Slurm or NVIDIA's containers hide all devices on purpose.
_HIDDEN = ("", "-1", "NoDevFiles", "none", "void")


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
    """Return the devices that a process may use, as a dict: a device's name on this host -> in CUDA_VISIBLE_DEVICES.

    `variables` are the process's environment variables, `present` the number of devices in the machine, which counts
    where CUDA_VISIBLE_DEVICES is not set. As by CUDA, that variable is read up to the first word that names no device.
    The two names differ under Slurm, which hides the devices of other jobs: CUDA then counts from 0 in each job of a
    host, and Slurm's own variables have the names on the host.
    """
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(present)) if visible is None else map(str.strip, visible.split(","))
    known = []
    for name in names:
        if not _is_device(name, present):
            break
        if name not in known:
            known.append(name)
    bound = (variables.get("SLURM_STEP_GPUS") or variables.get("SLURM_JOB_GPUS") or "").split(",")
    return dict(zip(bound if all(bound) and len(bound) == len(known) else known, known, strict=True))


def usable(variables: Mapping[str, str], present: int) -> dict[str, str]:
    """Return `inventory`; an empty one if the machine has no device, whatever CUDA_VISIBLE_DEVICES says."""
    return inventory(variables, present) if present else {}


def check_visible(variables: Mapping[str, str], present: int) -> None:
    """Raise UserError where CUDA_VISIBLE_DEVICES hides the machine's devices by what looks like a slip."""
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    if present and visible is not None and visible.strip() not in _HIDDEN and not inventory(variables, present):
        raise UserError(
            f"CUDA_VISIBLE_DEVICES: got {visible}, which hides every GPU; takes numbers below {present}, names that "
            "nvidia-smi -L lists, or nothing to hide them"
        )


def _is_device(name: str, present: int) -> bool:
    """Return whether a word of CUDA_VISIBLE_DEVICES names a device; `present` is 0 where their number is not known."""
    if name.isascii() and name.isdigit():
        return not present or int(name) < present
    return name.startswith(("GPU-", "MIG-"))


def wanted(device: str, found: dict[str, str], count: int = 1) -> list[str]:
    """Return which of the devices `found` a config's `device` (auto, cpu, cuda, cuda:N) allows, by their names.

    For a CPU the list is empty. Raises UserError where a device is asked for that is not there, or more than there are.
    """
    kind, _, index = device.partition(":")
    if kind == "cpu" or (kind == "auto" and not found):
        return []
    if int(index or 0) >= len(found):
        raise UserError(f"device: got {device}, takes a device that is there; this job may use {len(found)} GPU(s)")
    if count > len(found):
        raise UserError(f"processes: got {count}, takes as many GPUs as are there; this job may use {len(found)}")
    return [list(found)[int(index)]] if index else list(found)
