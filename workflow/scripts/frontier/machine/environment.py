"""The machine, versions and code that a record was made with."""

import importlib.metadata
import os
import platform
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import torch

from frontier import paths
from frontier.machine import processor
from frontier.progress import DEVICE_IDS, START
from frontier.record_types import Environment
from frontier.units import GIB
from frontier.version import workflow_version

# The distributions whose versions a record names.
PACKAGES = (
    "snakemake",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "datasets",
    "pandas",
    "matplotlib",
    "scipy",
    "kneed",
    "itables",
    "nvidia-ml-py",
    "Jinja2",
    "gguf",
    "reasoning-gym",
    "liger-kernel",
)


def describe_environment(device: torch.device, started_at: str) -> Environment:
    """Return what must be known to compare two records: machine, device, versions, the code's commit, times in UTC."""
    record = {
        "host": socket.gethostname(),
        "os": platform.platform(),
        "cpu": processor.name(),
        "cpu_threads": torch.get_num_threads(),
        "device": processor.name() if device.type == "cpu" else torch.cuda.get_device_name(device),
        "device_ids": os.environ.get(DEVICE_IDS),
        "start": os.environ.get(START),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }
    if device.type == "cuda":
        record["cuda"] = torch.version.cuda
        record["driver"] = _driver()
        record["device_gib"] = torch.cuda.get_device_properties(device).total_memory / GIB
        record["allocator"] = os.environ.get("PYTORCH_CUDA_ALLOC_CONF") or os.environ.get("PYTORCH_ALLOC_CONF")
    record["workflow_version"] = workflow_version()
    return cast(Environment, record | _git_state() | {"started_at": started_at, "ended_at": utc_now()})


def device_and_versions(device: torch.device) -> dict:
    """Return what a model's proof is valid for: the device's type, and versions of the packages that compute losses."""
    versions = {name: _version(name) for name in ("torch", "transformers", "peft", "bitsandbytes")}
    return {"device": device.type, "versions": versions}


def utc_now() -> str:
    """Return the time in UTC, to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _driver() -> str | None:
    version = Path("/sys/module/nvidia/version")
    return version.read_text().strip() if version.exists() else None


def _git_state() -> dict:
    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(paths.PACKAGE), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    status = git("status", "--porcelain", "--untracked-files=no")
    return {"git_commit": git("rev-parse", "HEAD"), "git_clean": None if status is None else not status}
