"""Ctrl-C and SIGTERM through Snakemake: a checkpoint, one line, and the same adapter in the end."""

import os
import random
import re
import shutil
import signal
import time

import psutil
import pytest
from conftest import Study
from frontier import records
from interruptions import FOLDER, RUN, adapter, interrupt, started, wait_for
from job_doubles import workers

STEPS = 400


@pytest.fixture(scope="module")
def unfinished(trained, tmp_path_factory):
    """A study of one longer training: a copy to interrupt, and the adapter that it has undisturbed."""
    folder = tmp_path_factory.mktemp("interrupted") / "study"
    shutil.copytree(trained.folder, folder, symlinks=True)
    study = Study(folder)
    study.configure(steps=STEPS, learning_rate=1e-3)
    study.run(f"{FOLDER}/training.json")
    whole = adapter(study)
    shutil.rmtree(folder / FOLDER)
    return study, whole


def test_interruptions_cost_no_step_and_change_no_bit(unfinished):
    study, whole = unfinished
    draw = random.Random(24)
    before = 0
    # The first comes while the worker may still be loading, the last is a scheduler's.
    for number, text in ((signal.SIGINT, ""), (signal.SIGINT, "step"), (signal.SIGTERM, "step")):
        end = interrupt(study, draw.random() * 0.5, number, text)
        assert end.status not in (0, None), end.printed
        assert "Traceback" not in end.printed
        assert "Traceback" not in (study.folder / FOLDER / "training.log").read_text("utf-8")
        (line,) = end.stopped
        assert end.printed.splitlines()[-1] == line
        assert line.startswith(f"{RUN}: stopped; the same command ")
        step = re.search(r"goes on from step (\d+)$", line)
        assert step or (not before and line.endswith("starts it again"))
        assert not step or before < int(step[1]) < STEPS
        before = int(step[1]) if step else before
    assert before, "no training was interrupted after a step"
    study.run(f"{FOLDER}/training.json")
    assert adapter(study) == whole
    outcome = records.read_json(study.folder / FOLDER / "training.json")["outcome"]
    assert (outcome["status"], outcome["steps"]) == ("ok", STEPS)
    assert 0 < outcome["resumes"] <= 3


def test_a_second_ctrl_c_does_not_wait_for_the_step(unfinished):
    """The worker is held, as one in a step of hours is: the first Ctrl-C waits for it, the second ends it."""
    study, _ = unfinished
    shutil.rmtree(study.folder / FOLDER, ignore_errors=True)
    snakemake = started(study)
    wait_for(snakemake, study.folder / FOLDER / "training.log", "step")
    (worker,) = [process for process, _ in workers(study.folder)]
    worker.suspend()
    os.killpg(snakemake.pid, signal.SIGINT)
    time.sleep(2)
    assert snakemake.poll() is None
    assert worker.is_running()
    os.killpg(snakemake.pid, signal.SIGINT)
    printed, _ = snakemake.communicate(timeout=60)
    assert snakemake.returncode != 0
    assert f"{RUN}: stopped; the same command starts it again" in printed.splitlines()
    _, alive = psutil.wait_procs([worker], timeout=10)
    assert not alive
