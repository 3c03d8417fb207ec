"""How far the runs are, from another terminal: waiting, running, finished, failed, and the curve as it grows."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import Study
from frontier import job_notes, outcomes
from interruptions import FOLDER, RUN, TARGET, started, wait_for

RUNS = [f"{p}-r{r}-s0" for p in ("fp16", "nf4") for r in (2, 4, 8)]


def status(study: Study, *words: str) -> list[str]:
    command = [sys.executable, "-m", "frontier.results.status", *words]
    path = {"PYTHONPATH": str(study.folder / "workflow/scripts")}
    done = subprocess.run(command, cwd=study.folder, env=os.environ | path, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return (done.stdout + done.stderr).splitlines()


@pytest.fixture
def study(trained, tmp_path) -> Study:
    folder = tmp_path / "study"
    shutil.copytree(trained.folder, folder, symlinks=True)
    return Study(folder)


def test_finished_runs_have_their_figures(finished_study):
    *runs, summed = status(finished_study)
    assert [line.split()[0] for line in runs] == RUNS
    assert all(re.search(r" ok .*perplexity +\d.* train +\d.* peak +\d", line) for line in runs)
    assert summed == "6 runs: 6 finished"


def test_a_study_is_watched_from_another_terminal(study):
    study.configure(steps=3000, learning_rate=1e-3, seeds=[0, 1])
    history = study.folder / FOLDER / "history.csv"
    snakemake = started(study)
    try:
        wait_for(snakemake, history, "\n3,")
        deadline = time.monotonic() + 30
        while not re.search(r"step \d+/3000  loss \d", line := status(study)[0]):
            assert time.monotonic() < deadline, line
            time.sleep(0.2)
        first = history.read_text("utf-8")
        assert re.match(rf"{RUN} +running +training, step \d+/3000  loss \d+\.\d+  \d+ s left  \(on .+\)", line)
        assert status(study)[1].split() == ["fp32-r4-s1", "waiting"]
        beside = study.snakemake("--cores", "1", "status")
        assert beside.returncode == 0, beside.stderr
        assert re.match(rf"{RUN} +running", beside.stdout)
        assert beside.stdout.splitlines()[-1].startswith("2 runs: 1 running, 1 waiting")
        later = history.read_text("utf-8")
        assert later.startswith(first)
        assert len(later) > len(first)
        assert later.splitlines()[0] == ",".join(outcomes.HISTORY)
    finally:
        os.killpg(snakemake.pid, signal.SIGINT)
        printed, _ = snakemake.communicate(timeout=60)
    step = re.search(r"goes on from step (\d+)", printed)[1]
    assert status(study)[0].split() == [RUN, "waiting", "has", "a", "checkpoint", "of", "step", step]
    assert not job_notes.running_note(study.folder / FOLDER / "training.log").exists()


def test_a_run_that_failed_says_why(study):
    shutil.rmtree(study.folder / FOLDER)
    study.edit(
        "workflow/scripts/frontier/run/train.py",
        '"input"]\n    folder',
        '"input"]\n    raise OSError("lost")\n    folder',
    )
    assert study.snakemake("--cores", "1", TARGET).returncode != 0
    line, summed = status(study)
    assert re.match(rf"{RUN} +failed +run.train.train_adapter failed: OSError: lost; see ", line)
    assert summed == "1 run: 1 failed"


def test_a_note_that_is_old_is_of_no_running_job(tmp_path):
    log, now = tmp_path / "training.log", time.time()
    note = {"host": "far", "started_at": now - 500, "written_at": now - 30, "line": "", "phase": "load"}
    job_notes.write_running(log, note)
    assert job_notes.read_running(log) == note
    job_notes.write_running(log, note | {"written_at": now - job_notes.GONE_SECONDS - 1})
    assert job_notes.read_running(log) is None


def test_what_is_no_study_is_one_line(finished_study, tmp_path):
    (line,) = status(finished_study, str(tmp_path))
    assert line.startswith(f"error: status: {tmp_path} is no study")
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("ranks: [8\n", encoding="utf-8")
    (line,) = status(finished_study, str(tmp_path))
    assert line.startswith("error: config: ")


def test_a_status_loads_neither_torch_nor_pandas():
    words = "import sys; from frontier.results import status; print({'torch', 'pandas', 'numpy'} & {*sys.modules})"
    found = subprocess.run(
        [sys.executable, "-c", words],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path.endswith("workflow/scripts"))},
    )
    assert found.stdout.strip() == "set()"
