"""Check that the machine has what a configuration names, before any job starts and without loading torch."""

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path

from frontier import paths
from frontier.errors import UserError
from frontier.machine import gpus
from frontier.model.data.files import example_files

# What a job's figures rest on: modules that PYTHONPATH may put others of in the place of the environment's.
_MODULES = (
    "torch transformers peft accelerate bitsandbytes tokenizers safetensors datasets huggingface_hub numpy pandas "
    "scipy filelock psutil liger_kernel"
).split()
# Characters that a shell does not take for a part of a path.
_SPECIAL = re.compile(r"""[\s'"\\$`&|;<>()*?\[\]{}~#!]""")

# Seconds, read by huggingface_hub as it is imported: any other text is an error in each job.
_SECONDS = ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT")
# Bytes that Snakemake and a job write to TMPDIR before anything else, and more.
_LEAST_ROOM = 2**20


def check_python(
    executable: str = sys.executable, variables: Mapping[str, str] = os.environ, project: Path = paths.ROOT
) -> None:
    """Raise UserError, in one line, where jobs could not be started with this Python, or not with its own modules.

    `project` is the folder that has the workflow.
    """
    if os.name == "posix" and _SPECIAL.search(executable):
        raise UserError(
            f"python: got {executable}, takes a path without spaces and a shell's signs, since Snakemake starts each "
            "job through a shell; move the project's folder, or make .venv elsewhere"
        )
    if {"{", "}"}.intersection(str(project)):
        raise UserError(f"folder: got {project}, takes a path without braces, which Snakemake fills; move the project")
    _check_variables(variables)
    given = [folder for folder in variables.get("PYTHONPATH", "").split(os.pathsep) if folder]
    own = [folder for folder in sys.path if folder not in given]
    for name in _MODULES if given else ():
        found, ours = PathFinder.find_spec(name, given), PathFinder.find_spec(name, own)
        if found and ours and found.origin != ours.origin:
            raise UserError(
                f"PYTHONPATH: {found.origin} stands in the place of this environment's {name}, whose version the "
                "records would name; unset PYTHONPATH"
            )


def _check_variables(variables: Mapping[str, str]) -> None:
    """Raise UserError where a variable of the shell would end each job, or Snakemake itself, in a traceback."""
    for name in _SECONDS:
        if not variables.get(name, "1").strip().isdecimal():
            raise UserError(f"{name}: got {variables[name]}, takes a whole number of seconds; or unset it")
    folder = variables.get("TMPDIR")
    if folder and Path(folder).is_dir() and shutil.disk_usage(folder).free < _LEAST_ROOM:
        raise UserError(f"TMPDIR: got {folder}, which has no room left; takes a folder of this host that has")


def check_machine(
    config: dict, root: Path = Path("/"), devices_here: bool = True, variables: Mapping[str, str] = os.environ
) -> None:
    """Raise UserError, in one line, where a file, folder, package or accelerator of the configuration is missing.

    `devices_here` is False where jobs run on other machines, whose accelerators cannot be seen from here.
    `root` is the folder whose `dev` has the GPUs' files; of those, CUDA_VISIBLE_DEVICES among the environment
    `variables` may hide some.
    """
    for section, key in (("data", "train_file"), ("data", "validation_file"), ("data", "test_file")):
        path = config[section].get(key)
        if path and not Path(path).exists():
            raise UserError(f"config: {section}.{key}: got {path}, takes a file or a folder that exists")
        if path:
            example_files(path)
    folder = config["model"].get("path")
    if folder and not (Path(folder) / "config.json").is_file():
        raise UserError(f"config: model.path: got {folder}, takes a folder that holds a config.json")
    for tracker in config["report_to"]:
        if importlib.util.find_spec(tracker) is None:
            raise UserError(
                f"config: report_to: got {tracker}, which is not installed; type pip install {tracker}, or for "
                "tensorboard pip install -c envs/constraints.txt -r envs/trackers.txt"
            )
    if not devices_here:
        return
    present = gpus.cuda_devices(root)
    count = len(gpus.usable(variables, present))
    name, _, index = config["device"].partition(":")
    if name != "cpu":
        gpus.check_visible(variables, present)
    if name == "cuda" and int(index or 0) >= count:
        raise UserError(f"config: device: got {config['device']}, takes a device that is there; found {count} GPU(s)")
    processes = config["processes"]
    if processes > 1 and (name == "cuda" or (name == "auto" and count)) and processes > count:
        raise UserError(f"config: processes: got {processes}, takes as many GPUs as are there; found {count}")
