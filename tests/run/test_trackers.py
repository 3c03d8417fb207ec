"""Trackers of trainings: what TensorBoard is told, live, and that no result and no identity depends on it."""

import json
import os
import shutil

import pandas as pd
import pytest
from conftest import RESULTS, RUN, Study
from frontier.errors import UserError
from frontier.run import trackers
from frontier.study import preflight, requests, schema

event_accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is not installed"
)


@pytest.fixture(scope="module")
def told(trained, tmp_path_factory) -> Study:
    """The study of one run, trained once more with TensorBoard told."""
    folder = tmp_path_factory.mktemp("told") / "study"
    shutil.copytree(trained.folder, folder, symlinks=True)
    study = Study(folder)
    study.configure(report_to=["tensorboard"])
    assert study.plan() == trained.plan(), "a tracker changed an identity"
    study.run("-R", f"{RESULTS}/training.json", "--", f"{RESULTS}/training.json")
    return study


def test_tensorboard_has_each_run_by_its_name(told):
    assert [path.name for path in (told.folder / "results/tensorboard").iterdir()] == [RUN]
    events = event_accumulator.EventAccumulator(str(told.folder / "results/tensorboard" / RUN))
    events.Reload()
    history = pd.read_csv(told.folder / RESULTS / "history.csv")
    losses = events.Scalars("train/loss")
    assert [one.step for one in losses] == list(history["step"])
    assert [one.value for one in losses] == pytest.approx(list(history["loss"]), rel=1e-3, abs=1e-3)


def test_the_adapter_is_the_same_bit_for_bit(told, trained):
    ours, theirs = (
        (study.folder / RESULTS / "adapter/adapter_model.safetensors").read_bytes() for study in (told, trained)
    )
    assert ours == theirs


def test_what_is_not_installed_is_refused_in_one_line(trained, monkeypatch):
    config = schema.resolve(trained.config | {"report_to": ["trackio"]})
    monkeypatch.chdir(trained.folder)
    monkeypatch.setattr(preflight.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="config: report_to: got trackio, which is not installed; type pip install"):
        preflight.check_machine(config)


# What the Trainer calls of W&B. As the package itself it keeps what it is told until its run is ended.
WANDB = """
import json, os, pathlib

run, _told = None, []

class _Any:
    def __getattr__(self, name):
        return self
    def __call__(self, *_, **__):
        return self
    def __setitem__(self, key, value):
        pass

config = define_metric = watch = Artifact = _Any()

def init(project, name, **_):
    global run
    run = _Any()
    _told.append([project, name])

def log(values, **_):
    _told.append(values["train/global_step"])

def finish():
    pathlib.Path(os.environ["TOLD_FILE"]).write_text(json.dumps(_told))
"""


def test_what_a_tracker_was_told_is_there_when_the_job_has_ended(told, tmp_path, monkeypatch):
    """A forked job's Python does not end as others do: W&B's offline files were empty."""
    package = tmp_path / "modules/wandb/sdk/lib"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parents[1]):
        (folder / "__init__.py").write_text("")
    (tmp_path / "modules/wandb/__init__.py").write_text(WANDB)
    (package / "config_util.py").write_text("class ConfigError(Exception):\n    pass\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.setenv("TOLD_FILE", str(tmp_path / "told.json"))
    told.configure(report_to=["wandb"])
    told.run("-R", f"{RESULTS}/training.json", "--", f"{RESULTS}/training.json")
    (project, name), *steps = json.loads((tmp_path / "told.json").read_text("utf-8"))
    assert (project, name) == (told.folder.name, RUN)
    assert steps[:-1] == list(pd.read_csv(told.folder / RESULTS / "history.csv")["step"])


def test_trackers_tell_their_makers_nothing_unless_the_shell_says_so(tmp_path, monkeypatch):
    for variable in ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME", "TENSORBOARD_LOGGING_DIR", "MLFLOW_DISABLE_TELEMETRY"):
        # Set and deleted, so that what `name_run` sets is taken back.
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "true")
    monkeypatch.chdir(tmp_path)
    trackers.name_run(RUN, tmp_path / RESULTS)
    names = ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_DISABLE_TELEMETRY", "WANDB_ERROR_REPORTING")
    assert [os.environ[name] for name in names] == [tmp_path.name, tmp_path.name, "true", "true"]


def test_only_known_trackers_are_taken(trained):
    for value in (["comet"], "tensorboard", ["tensorboard", "tensorboard"]):
        with pytest.raises(UserError, match="config: report_to"):
            schema.resolve(trained.config | {"report_to": value})
    assert "report_to" not in requests.without_trackers(schema.resolve(trained.config))
