"""Runs that are cut off, and what they were made from: what is resumed, what is recorded, what is lost (nothing)."""

import contextlib
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from conftest import RESULTS, ROOT, SECRET, Study
from frontier import records
from frontier.jobs import retries
from frontier.run import checkpoints
from job_doubles import OUTPUTS, Job, inputs_of, job_of, start, worker_of, workers


def adapter_bits(folder) -> bytes:
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


def test_ten_kills_of_the_whole_tree_leave_the_result_bit_identical(trained, tmp_path):
    """SIGKILL of supervisor and worker at random moments, a checkpoint every second step in between."""
    draw = random.Random(5)
    job = Job(job_of(trained), tmp_path, inputs_of(trained), OUTPUTS, checkpoint_steps=2)
    kills = attempts = 0
    last_step = 0
    while kills < 10 and attempts < 40:
        attempts += 1
        supervisor = start(job)
        worker = worker_of(tmp_path)
        log = tmp_path / "job.log"
        deadline = time.monotonic() + 60
        wanted = last_step + draw.choice([1, 2, 3])
        while supervisor.poll() is None and time.monotonic() < deadline:
            steps = [int(path.name.split("-")[1]) for path in (tmp_path / "checkpoints").glob("checkpoint-*")]
            if max(steps, default=0) >= wanted:
                break
            time.sleep(0.005)
        time.sleep(draw.random() * 0.05)
        if supervisor.poll() is not None:
            break
        assert not (tmp_path / "training.json").exists()
        supervisor.kill()
        kills += 1
        supervisor.wait()
        psutil.wait_procs([worker], timeout=10)
        assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
        steps = [int(path.name.split("-")[1]) for path in (tmp_path / "checkpoints").glob("checkpoint-*")]
        last_step = max(steps, default=0)
    assert kills == 10, log.read_text()
    assert start(job).wait() == 0, log.read_text()
    assert adapter_bits(tmp_path) == adapter_bits(trained.folder / RESULTS)
    ours, theirs = (
        pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (tmp_path, trained.folder / RESULTS)
    )
    pd.testing.assert_frame_equal(ours, theirs)
    outcome = records.read_json(tmp_path / "training.json")["outcome"]
    assert 0 < outcome["resumes"] <= 10
    assert (
        outcome["train_tokens"]
        == records.read_json(trained.folder / RESULTS / "training.json")["outcome"]["train_tokens"]
    )
    assert not (tmp_path / "checkpoints").exists()


def test_sigterm_as_a_scheduler_sends_it_is_no_bug(trained, tmp_path, monkeypatch):
    """To every process of the job, as at a preemption or a time limit: the second attempt is made, and goes on."""
    monkeypatch.setenv(retries.CALL, "one call of Snakemake")
    job = Job(job_of(trained), tmp_path, inputs_of(trained), OUTPUTS, checkpoint_steps=2)
    supervisor = start(job)
    worker = worker_of(tmp_path)
    while not list(tmp_path.glob("checkpoints/checkpoint-*/manifest.json")):
        assert supervisor.poll() is None
        time.sleep(0.002)
    for process in (worker, supervisor):
        process.terminate()
    assert supervisor.wait(timeout=20) != 0
    psutil.wait_procs([worker], timeout=10)
    assert not (tmp_path / "training.json").exists()
    assert start(job).wait() == 0, (tmp_path / "job.log").read_text()
    assert records.read_json(tmp_path / "training.json")["outcome"]["resumes"] == 1
    assert adapter_bits(tmp_path) == adapter_bits(trained.folder / RESULTS)


def test_truncated_checkpoint_gives_way_to_the_one_before(tmp_path):
    for step in (2, 4, 6):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "optimizer.pt").write_bytes(b"x" * 100 * step)
        checkpoints.seal(folder, "ours", {"steps": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-4", "checkpoint-6"]
    (tmp_path / "checkpoint-6" / "optimizer.pt").write_bytes(b"x" * 599)
    (tmp_path / "checkpoint-8").mkdir()
    assert checkpoints.newest(tmp_path, "ours") == tmp_path / "checkpoint-4"
    assert checkpoints.clock_of(tmp_path / "checkpoint-4") == {"steps": 4}
    assert checkpoints.newest(tmp_path, "another configuration") is None
    assert not list(tmp_path.iterdir())


def test_a_bug_fails_the_job_in_one_line_with_its_traceback_in_the_log(trained, tmp_path):
    inputs = inputs_of(trained) | {"tokens": str(tmp_path / "missing.parquet")}
    supervisor = start(Job(job_of(trained), tmp_path, inputs, OUTPUTS))
    _, errors = supervisor.communicate()
    assert supervisor.returncode == 1
    assert len([line for line in errors.splitlines() if line.startswith("error:")]) == 1
    assert "missing.parquet" in errors
    assert "Traceback" not in errors
    assert "Traceback" in (tmp_path / "job.log").read_text()
    assert not (tmp_path / "training.json").exists()


def test_phases_add_up_to_the_wall_clock(trained, tmp_path):
    """Within 2% of the process's life as it is seen from outside; a run over its hours that may go on does so."""
    record = job_of(trained)
    record["request"]["training"]["steps"] = 200
    supervisor = start(Job(record, tmp_path, inputs_of(trained), OUTPUTS, hours=1e-7, continue_over_time=True))
    worker = worker_of(tmp_path)
    ticks = int(Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[19])
    # Its supervisor looks twice a second, and until then what has ended is a zombie.
    with contextlib.suppress(psutil.NoSuchProcess):
        while worker.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.005)
    lifetime = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    assert supervisor.wait() == 0
    outcome = records.read_json(tmp_path / "training.json")["outcome"]
    phases = outcome["phases"]
    assert (outcome["status"], outcome["steps"]) == ("ok", 200)
    assert {"import", "load", "warm_up", "steady", "between_steps", "save"} <= set(phases)
    assert sum(one["seconds"] for one in phases.values()) == pytest.approx(outcome["wall_seconds"])
    assert outcome["wall_seconds"] == pytest.approx(lifetime, rel=0.02)
    assert phases["steady"]["host_gib"] > phases["import"]["host_gib"] * 0.5


def test_record_says_where_everything_came_from(trained):
    record = records.read_json(trained.folder / RESULTS / "training.json")
    assert record["material"]["model"]["files"]["model.safetensors"]
    assert record["material"]["data"]["examples"]["files"]["train"]
    lines = [line for name in ("workflow", "cuda") for line in (ROOT / f"envs/{name}.txt").read_text().splitlines()]
    pinned = {line.split("==")[0] for line in lines if not line.startswith("#")}
    packages = record["environment"]["packages"]
    assert set(packages) == pinned
    assert packages["torch"] == torch.__version__


def test_a_token_in_the_environment_reaches_no_log_and_no_record(trained):
    written = [
        path for path in trained.folder.rglob("*") if path.suffix in (".log", ".json", ".csv") and path.is_file()
    ]
    assert len(written) > 10
    assert not [path for path in written if SECRET in path.read_text("utf-8", "replace")]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small disk needs root on Linux")
def test_disk_that_fills_up_while_a_checkpoint_is_written(trained, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        job = Job(job_of(trained), disk, inputs_of(trained), OUTPUTS, checkpoint_steps=4)
        supervisor = start(job)
        while not list(disk.glob("checkpoints/checkpoint-*/manifest.json")):
            assert supervisor.poll() is None
            time.sleep(0.002)
        left = os.statvfs(disk)
        # Room for the log, and for no further checkpoint.
        (disk / "filler").write_bytes(b"x" * (left.f_bavail * left.f_frsize - 2**14))
        _, errors = supervisor.communicate(timeout=120)
        assert supervisor.returncode == 1
        assert len([line for line in errors.splitlines() if line.startswith("error:")]) == 1
        assert not (disk / "training.json").exists()
        usable = checkpoints.newest(disk / "checkpoints", job.params["job"]["digest"])
        assert usable is not None
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        assert start(job).wait() == 0
        assert records.read_json(disk / "training.json")["outcome"]["resumes"] == 1
        assert adapter_bits(disk) == adapter_bits(trained.folder / RESULTS)
    finally:
        subprocess.run(["umount", disk], check=True)


def unlocked(folder: Path, host: str) -> bool:
    """Whether `frontier.unlock` takes the folder's lock away where Snakemake's logs say that it ran on `host`."""
    for log in (folder / ".snakemake/log").iterdir():
        dates = log.stat()
        log.write_text(re.sub(r"(?m)^  Host: .*", f"  Host: {host}", log.read_text("utf-8")), encoding="utf-8")
        os.utime(log, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    path = {"PYTHONPATH": str(folder / "workflow/scripts")}
    subprocess.run([sys.executable, "-m", "frontier.jobs.unlock"], cwd=folder, env=os.environ | path, check=True)
    return not list((folder / ".snakemake/locks").glob("*"))


def test_sigkill_of_snakemake_repeats_nothing_and_leaves_no_orphan(trained, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(trained.folder, folder, symlinks=True)
    study = Study(folder)
    study.configure(seeds=[0, 1], checkpoint_steps=2, steps=40)
    finished = (folder / RESULTS / "training.json").stat().st_mtime_ns
    snakemake = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", "results/runs/fp32-r4-s1/training.json"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list((folder / "results/runs/fp32-r4-s1").glob("checkpoints/checkpoint-*/manifest.json")):
        assert time.monotonic() < deadline
        assert snakemake.poll() is None
        time.sleep(0.01)
    (worker,) = [process for process, _ in workers(folder)]
    tree = {worker, worker.parent(), *psutil.Process(snakemake.pid).children(recursive=True)}
    snakemake.kill()
    snakemake.wait()
    _, alive = psutil.wait_procs(tree, timeout=15)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert not (folder / "results/runs/fp32-r4-s1/training.json").exists()
    locked = study.snakemake("--cores", "1", "results/runs/fp32-r4-s1/training.json")
    assert "unlock" in locked.stdout + locked.stderr
    assert not unlocked(folder, host="elsewhere")
    assert unlocked(folder, host=platform.node())
    study.run("results/runs/fp32-r4-s1/training.json")
    assert (folder / RESULTS / "training.json").stat().st_mtime_ns == finished
    assert records.read_json(folder / "results/runs/fp32-r4-s1/training.json")["outcome"]["resumes"] == 1
