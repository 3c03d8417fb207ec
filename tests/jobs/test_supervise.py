"""What a supervisor makes of a process that the kernel ended, that was killed, or that stands still."""

import errno
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
from conftest import RUN
from frontier import outcomes, records
from frontier.jobs import child_process, supervise
from frontier.results import accuracy_table
from job_doubles import ANSWERED, OUTPUTS, Job, inputs_of, job_of, start


@pytest.mark.parametrize("counter_rose", [True, False])
def test_sigkill_of_the_training_alone(trained, tmp_path, monkeypatch, counter_rose):
    """A row only where the kernel's own counter of out-of-memory kills rose meanwhile."""
    counts = iter([3, 4 if counter_rose else 3])
    monkeypatch.setattr(supervise, "kernel_kills", lambda: next(counts))
    job = Job(job_of(trained), tmp_path, inputs_of(trained), OUTPUTS)
    real = child_process.Child.watch

    def watch(child):
        deadline = time.monotonic() + 30
        while child.environment is None and time.monotonic() < deadline:
            time.sleep(0.01)
        child.most_gib = psutil.Process(child.process.pid).memory_info().rss / 2**30
        os.kill(child.process.pid, signal.SIGKILL)
        child.process.wait()
        return real(child)

    monkeypatch.setattr(child_process.Child, "watch", watch)
    if counter_rose:
        supervise.run_job("run.train.train_adapter", job)
        record = records.read_json(tmp_path / "training.json")
        assert record["outcome"]["status"] == "oom"
        assert record["outcome"]["reason"].startswith("killed by the kernel, out of memory; 0.")
        assert record["environment"]["packages"]["torch"]
        assert (tmp_path / "adapter").is_dir()
    else:
        with pytest.raises(SystemExit, match="SIGKILL"):
            supervise.run_job("run.train.train_adapter", job)
        assert not (tmp_path / "training.json").exists()


def test_a_training_goes_on_where_nobody_watches_any_more(trained, tmp_path, monkeypatch):
    """What it says is in its log all the same."""

    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(errno.EIO, "the terminal is gone")

    monkeypatch.setattr(sys, "stderr", Gone())
    job = Job(job_of(trained), tmp_path, inputs_of(trained), OUTPUTS)
    supervise.run_job("run.train.train_adapter", job)
    assert records.read_json(tmp_path / "training.json")["outcome"]["status"] == "ok"
    assert "loss" in Path(job.log[0]).read_text("utf-8")


@pytest.fixture
def small_cgroup():
    """A control group in which the kernel ends what passes half a GiB, and a way to start a process inside it."""
    root = Path("/sys/fs/cgroup")
    version_2 = (root / "cgroup.controllers").exists()
    folder = (root if version_2 else root / "memory") / f"lora-frontier-{os.getpid()}"
    try:
        folder.mkdir()
        limit = folder / ("memory.max" if version_2 else "memory.limit_in_bytes")
        limit.write_text(str(2**29))
    except OSError:
        pytest.skip("making a control group needs root and a cgroup file system")
    yield folder / "cgroup.procs"
    folder.rmdir()


def test_the_kernel_ends_a_training_that_takes_too_much(trained, tmp_path, small_cgroup):
    """The real out-of-memory killer, in a control group of half a GiB."""
    tokens = pd.DataFrame({"input_ids": [[5] * 24_000] * 8, "labels": [[-100] + [5] * 23_999] * 8})
    tokens.to_parquet(tmp_path / "long.parquet")
    inputs = inputs_of(trained) | {"tokens": str(tmp_path / "long.parquet")}
    supervisor = start(Job(job_of(trained), tmp_path, inputs, OUTPUTS), within=small_cgroup)
    _, errors = supervisor.communicate(timeout=120)
    assert supervisor.returncode == 0, errors
    outcome = records.read_json(tmp_path / "training.json")["outcome"]
    assert (outcome["status"], outcome["phase"]) == ("oom", "train")
    assert outcome["reason"].startswith("killed by the kernel, out of memory; 0.")


@pytest.mark.parametrize("budget", [4, None])
def test_a_process_that_shows_no_sign_of_life(trained, tmp_path, monkeypatch, budget):
    """Stopped for good, it is a row where there is a budget of memory, and a failure where there is none."""
    monkeypatch.setattr(child_process, "STALL_SECONDS", 2)
    real = child_process.Child.watch

    def watch(child):
        while child.environment is None:
            time.sleep(0.01)
        os.kill(child.process.pid, signal.SIGSTOP)
        return real(child)

    monkeypatch.setattr(child_process.Child, "watch", watch)
    job = Job(job_of(trained), tmp_path, inputs_of(trained), OUTPUTS, memory_gib=budget)
    if budget:
        supervise.run_job("run.train.train_adapter", job)
        outcome = records.read_json(tmp_path / "training.json")["outcome"]
        assert (outcome["status"], outcome["reason"]) == ("oom", "no sign of life for 2 s under a budget of 4 GiB")
    else:
        with pytest.raises(SystemExit, match="hung and was ended"):
            supervise.run_job("run.train.train_adapter", job)
        assert not (tmp_path / "training.json").exists()


@pytest.fixture
def stand_in(monkeypatch):
    """A function that has a Python program stand for the process that a supervisor starts."""

    def install(program: str) -> None:
        def start(function, variables, files):
            streams = dict(zip(("stdin", "stdout", "stderr"), files[:3], strict=True))
            return subprocess.Popen([sys.executable, "-c", program], start_new_session=True, **streams)

        monkeypatch.setattr(child_process, "start", start)

    return install


@pytest.mark.parametrize(
    ("end", "budget", "reason"),
    [
        (signal.SIGKILL, None, "killed by the kernel, out of memory"),
        (signal.SIGSTOP, 4, "no sign of life for 1 s under a budget of 4 GiB"),
    ],
)
def test_an_accuracy_that_memory_ended_is_a_row_without_a_score(tmp_path, monkeypatch, stand_in, end, budget, reason):
    stand_in(f"import os; os.kill(os.getpid(), {int(end)})")
    monkeypatch.setattr(child_process, "STALL_SECONDS", 1)
    counts = iter([3, 4])
    monkeypatch.setattr(supervise, "kernel_kills", lambda: next(counts))
    request = {"name": RUN, "precision": "fp32", "rank": 4, "seed": 0, "split": "test", "device": "cpu"}
    record = {"digest": "", "request": request, "tracked": None, "limits": {"memory_gib": budget}}
    supervise.run_job("run.accuracy.measure_accuracy", Job(record, tmp_path, {}, ANSWERED))
    assert pd.read_parquet(tmp_path / "answers.parquet").empty
    record = tmp_path / "accuracy.json"
    accuracy_table.gather_accuracy(
        {"input": {"bases": [], "runs": [record]}, "output": {"table": tmp_path / "accuracy.csv"}}
    )
    (row,) = pd.read_csv(tmp_path / "accuracy.csv").to_dict("records")
    assert (row["run"], row["status"]) == (RUN, "oom")
    assert row["reason"].startswith(reason)
    assert all(pd.isna(row[name]) for name in outcomes.ACCURACY)


FAILED, CUT_OFF, TOLD = "run.f failed: boom", "run.f was ended by SIG", "a line of its own"


@pytest.mark.parametrize(
    ("status", "hung", "kills", "budget", "output", "end"),
    [
        (0, False, 0, None, "training", None),
        (0, False, 1, 4, "training", None),
        (-9, False, 1, None, "training", "oom"),
        (-9, True, 0, 4, "training", "oom"),
        (-9, False, 1, None, "base", (CUT_OFF + "KILL", False, False)),
        (-9, False, 0, 4, "training", (CUT_OFF + "KILL", False, False)),
        (-15, False, 0, 4, "training", (CUT_OFF + "TERM", False, False)),
        (-11, False, 0, 4, "training", (CUT_OFF + "SEGV", False, True)),
        (-9, True, 1, None, "training", ("run.f hung and was ended", False, True)),
        (-9, True, 1, 4, "base", ("run.f hung and was ended", False, True)),
        (1, False, 1, 4, "training", (FAILED, False, True)),
        (2, False, 1, 4, "training", (TOLD, True, True)),
    ],
)
def test_what_an_end_means(tmp_path, status, hung, kills, budget, output, end):
    # The log has a line of progress after the traceback, since the two come into it by ways of their own.
    log = 'Traceback (most recent call last):\n  File "run.py", line 1, in f\nboom\na line of progress\n\n'
    (tmp_path / "job.log").write_text(log, encoding="utf-8")
    child = child_process.Child.__new__(child_process.Child)
    child.process, child.log, child.function = SimpleNamespace(returncode=status), tmp_path / "job.log", "run.f"
    child.phase, child.most_gib, child.last_line = "train", 0.5, TOLD
    job = {"limits": {"memory_gib": budget}, "output": {output: "a file"}}
    found = supervise.ending(job, child, hung, kills)
    if isinstance(end, tuple):
        line, is_told, is_lasting = end
        assert found == (line if is_told else f"error: {line}; see {child.log}", is_told, is_lasting)
    else:
        assert (found and found["status"]) == end


def test_a_process_that_ends_before_it_has_read_its_job_has_a_status(tmp_path, stand_in):
    """More than a pipe holds is written until nobody is there to read it."""
    stand_in("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with open(tmp_path / "job.log", "w") as log:
        child = child_process.Child("", {"request": {}, "filler": "." * 2**20}, log)
        assert not child.watch()
    assert child.status == -signal.SIGKILL


WAITING = "import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"


def test_a_process_that_waits_for_a_busy_child_is_not_hung(tmp_path, monkeypatch, stand_in):
    monkeypatch.setattr(child_process, "STALL_SECONDS", 1.5)
    busy = "import time\nend = time.monotonic() + 3\nwhile time.monotonic() < end: pass"
    stand_in(WAITING.format(child=busy))
    with open(tmp_path / "job.log", "w") as log:
        child = child_process.Child("", {"request": {}}, log)
        assert not child.watch()
    assert child.status == 0


@pytest.fixture
def idle_child(tmp_path, stand_in):
    """A job's process that waits for one it has started, which only sleeps, and that one."""
    stand_in(WAITING.format(child="import os, time; print(os.getpid(), flush=True); time.sleep(60)"))
    with open(tmp_path / "job.log", "w") as log:
        child = child_process.Child("", {"request": {}}, log)
        while not child.last_line:
            assert child.process.poll() is None
            time.sleep(0.01)
        yield child, psutil.Process(int(child.last_line))
        child.kill()


def ends(process: psutil.Process) -> bool:
    gone, _ = psutil.wait_procs([process], timeout=10)
    return bool(gone) or process.status() == psutil.STATUS_ZOMBIE


def test_a_process_whose_child_is_idle_too_is_hung_and_leaves_no_orphan(monkeypatch, idle_child):
    monkeypatch.setattr(child_process, "STALL_SECONDS", 1)
    child, idle = idle_child
    assert child.watch()
    assert ends(idle)


def test_a_process_that_is_killed_leaves_no_child_to_wait_for(idle_child):
    child, idle = idle_child
    os.kill(child.process.pid, signal.SIGKILL)
    assert not child.watch()
    assert child.status == -signal.SIGKILL
    assert ends(idle)
