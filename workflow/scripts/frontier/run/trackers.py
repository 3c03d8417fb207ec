"""Tell trackers of experiments, such as TensorBoard, which study and run a training belongs to."""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

# The folder in which a study's runs lie for TensorBoard, in the study's results, a folder a run.
FOLDER = "tensorboard"
# The variables by which trackers are told where they belong: a user's own values stand.
_PROJECTS = ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME")
_TENSORBOARD = "TENSORBOARD_LOGGING_DIR"
# What trackers would tell their makers of their own use, which nobody asked for.
_UNASKED = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
# The function of each that ends a run, with its options; a run that is still to be ended here has not ended well.
_ENDINGS: dict[str, tuple[str, dict]] = {
    "wandb": ("finish", {}),
    "mlflow": ("end_run", {"status": "FAILED"}),
    "trackio": ("finish", {}),
}


def project() -> str:
    """Return what trackers call this study: the name of its folder."""
    return Path.cwd().name


def name_run(run: str, checkpoints: Path) -> None:
    """Set the variables that trackers read as they are made, for the run with this folder of `checkpoints`.

    Trackers are told to tell their makers nothing; what a user has set in the shell stands.
    """
    for variable, value in (dict.fromkeys(_PROJECTS, project()) | _UNASKED).items():
        os.environ.setdefault(variable, value)
    os.environ[_TENSORBOARD] = str(_place(run, checkpoints))


def end() -> None:
    """End what trackers have begun and not ended themselves, as after an interruption.

    W&B writes what it was told as its run is ended, by this or as Python ends; that of a forked job never does.
    """
    for name, (function, options) in _ENDINGS.items():
        # None of them fails where nothing is left to end, but for Trackio.
        with suppress(RuntimeError):
            if name in sys.modules:
                getattr(sys.modules[name], function)(**options)


def forget(run: str, checkpoints: Path) -> None:
    """Delete what TensorBoard has of a run that is trained anew: its curves are of a training that is no more."""
    shutil.rmtree(_place(run, checkpoints), ignore_errors=True)


def _place(run: str, checkpoints: Path) -> Path:
    """Return TensorBoard's folder of a run, results/tensorboard/RUN, for checkpoints in results/runs/RUN/."""
    return checkpoints.parents[2] / FOLDER / run
