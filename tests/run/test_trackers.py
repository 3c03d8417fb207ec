"""Trackers of trainings: what TensorBoard is told, live, and that no result and no identity depends on it."""

import shutil

import pandas as pd
import pytest
from conftest import RESULTS, RUN, Study
from frontier.errors import UserError
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


def test_only_known_trackers_are_taken(trained):
    for value in (["comet"], "tensorboard", ["tensorboard", "tensorboard"]):
        with pytest.raises(UserError, match="config: report_to"):
            schema.resolve(trained.config | {"report_to": value})
    assert "report_to" not in requests.without_trackers(schema.resolve(trained.config))
