"""Tell trackers of experiments, such as TensorBoard, which study and run a training belongs to."""

import os
import shutil
from pathlib import Path

# The folder in which a study's runs lie for TensorBoard, in the study's results, a folder a run.
FOLDER = "tensorboard"
# The variables by which trackers are told where they belong: a user's own values stand.
_PROJECTS = ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME")
_TENSORBOARD = "TENSORBOARD_LOGGING_DIR"


def project() -> str:
    """Return what trackers call this study: the name of its folder."""
    return Path.cwd().name


def name_run(run: str, checkpoints: Path) -> None:
    """Set the variables that trackers read as they are made, for the run with this folder of `checkpoints`."""
    for variable in _PROJECTS:
        os.environ.setdefault(variable, project())
    os.environ[_TENSORBOARD] = str(_place(run, checkpoints))


def forget(run: str, checkpoints: Path) -> None:
    """Delete what TensorBoard has of a run that is trained anew: its curves are of a training that is no more."""
    shutil.rmtree(_place(run, checkpoints), ignore_errors=True)


def _place(run: str, checkpoints: Path) -> Path:
    """Return TensorBoard's folder of a run, results/tensorboard/RUN, for checkpoints in results/runs/RUN/."""
    return checkpoints.parents[2] / FOLDER / run
