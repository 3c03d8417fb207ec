"""Check that the machine has what a configuration names, before any job starts and without loading torch."""

from pathlib import Path

from frontier.errors import UserError
from frontier.machine import gpus


def check_machine(config: dict, root: Path = Path("/"), devices_here: bool = True) -> None:
    """Raise UserError, in one line, where a file, folder or accelerator that the configuration names is missing.

    `devices_here` is False where jobs run on other machines, whose accelerators cannot be seen from here.
    `root` is the folder whose `dev` has the GPUs' files.
    """
    for section, key in (("data", "train_file"), ("data", "validation_file"), ("data", "test_file")):
        path = config[section].get(key)
        if path and not Path(path).is_file():
            raise UserError(f"config: {section}.{key}: got {path}, takes a file that exists")
    folder = config["model"].get("path")
    if folder and not (Path(folder) / "config.json").is_file():
        raise UserError(f"config: model.path: got {folder}, takes a folder that holds a config.json")
    if not devices_here:
        return
    count = gpus.cuda_devices(root)
    name, _, index = config["device"].partition(":")
    if name == "cuda" and int(index or 0) >= count:
        raise UserError(f"config: device: got {config['device']}, takes a device that is there; found {count} GPU(s)")
    processes = config["processes"]
    if processes > 1 and (name == "cuda" or (name == "auto" and count)) and processes > count:
        raise UserError(f"config: processes: got {processes}, takes as many GPUs as are there; found {count}")
    if "int8" in config["precisions"] + [run.split("-")[0] for run in config["extra_runs"]] and (
        config["device"] == "cpu" or not count
    ):
        raise UserError("config: precisions: got int8, takes it on a CUDA device alone")
