"""A sweep on several devices: by Snakemake alone, and through a real Slurm of one node with two placeholder GPUs."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import pytest
import slurm
from conftest import Study
from filelock import FileLock
from frontier import records
from job_doubles import workers

RUNS = [f"{p}-r{r}-s0" for p in ("fp16", "nf4") for r in (2, 4, 8)]
# Clocks and what is read off them, memory as a process happens to hold it, the machine.
UNLIKE = (
    "train_seconds load_seconds tokens_per_second peak_memory_gib peak_host_gib pareto beaten_by "
    "host device resumes notes"
).split()


class Watch(threading.Thread):
    """Looks all the time which devices a study's workers have, as their environments say."""

    def __init__(self, folder: Path):
        super().__init__(daemon=True)
        self.folder, self.seen, self.over = folder, [], threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.1):
            self.seen.append([ids for _, ids in workers(self.folder) if ids])

    def end(self) -> list[list[str]]:
        """The devices in use at each look, those of each worker apart."""
        self.over.set()
        self.join()
        return self.seen


def unmade(study: Study, folder: Path) -> Study:
    """A copy of a finished study without its runs, their material being there."""
    shutil.copytree(study.folder, folder, symlinks=True)
    shutil.rmtree(folder / "results/runs")
    (folder / "results/summary.csv").unlink()
    return Study(folder)


def assert_each_had_a_device(seen: list[list[str]], study: Study) -> None:
    """Two devices, both used at one time, never two jobs on one; and the records say which run had which."""
    assert max(map(len, seen)) == 2
    assert all(len(set(ids)) == len(ids) for ids in seen)
    assert {one for ids in seen for one in ids} == {"0", "1"}
    records_of = [records.read_json(study.folder / f"results/runs/{run}/training.json") for run in RUNS]
    assert {record["environment"]["device_ids"] for record in records_of} == {"0", "1"}


def assert_same_summary(study: Study, other: Study) -> None:
    ours, theirs = (pd.read_csv(one.folder / "results/summary.csv").drop(columns=UNLIKE) for one in (study, other))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert list(ours["run"]) == RUNS


def test_two_devices_of_one_machine(finished_study, tmp_path, monkeypatch):
    study = unmade(finished_study, tmp_path / "study")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    watch = Watch(study.folder)
    watch.start()
    done = study.snakemake("--cores", "4", "--resources", "gpu=2", "--", "results/summary.csv")
    seen = watch.end()
    assert done.returncode == 0, done.stderr
    assert_each_had_a_device(seen, study)
    assert_same_summary(study, finished_study)


def test_a_bug_is_not_tried_again(finished_study, tmp_path):
    """Snakemake's retries start it again all the same; it ends at once, with the same line, its traceback kept."""
    study = unmade(finished_study, tmp_path / "study")
    study.edit(
        "workflow/scripts/frontier/run/train.py",
        "    base = load_base(",
        "    raise KeyError(7)\n    base = load_base(",
    )
    target = f"results/runs/{RUNS[0]}/training.json"
    done = study.snakemake("--cores", "1", "--retries", "2", "--", target)
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("error: run.train.train_adapter failed")]
    assert len(told) == 3
    assert len(set(told)) == 1
    log = study.folder / f"results/runs/{RUNS[0]}/training.log"
    assert "KeyError: 7" in told[0]
    assert log.read_text().count("Traceback") == 1


@pytest.fixture(scope="module")
def cluster():
    reason = slurm.missing()
    if reason:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm"))
    folder.chmod(0o755)
    one = slurm.Slurm(folder)
    # One machine has one Slurm: another process of the tests waits for its turn.
    with FileLock(Path(tempfile.gettempdir()) / "lora-frontier-slurm.lock"):
        try:
            one.start()
            yield one
        finally:
            one.stop()
            shutil.rmtree(folder)


@dataclass
class Sweep:
    """A finished sweep through Slurm: what Snakemake said, which devices were seen in use, which run was killed."""

    study: Study
    output: str
    status: int
    seen: list
    killed: str


@pytest.fixture(scope="module")
def sweep(cluster, finished_study, tmp_path_factory):
    """Six runs through profiles/slurm; in their midst the controller is away, and one of them is killed."""
    study = unmade(finished_study, tmp_path_factory.mktemp("slurm") / "study")
    study.configure(checkpoint_steps=1, cluster={"memory_gib": 1, "hours": 1})
    study.edit("profiles/slurm/config.yaml", "# slurm_partition: gpu", f"slurm_partition: {slurm.PARTITION}")
    watch = Watch(study.folder)
    watch.start()
    command = f"{sys.executable} -m snakemake --profile profiles/slurm results/summary.csv".split()
    # The tests' Slurm is asked more often than one should ask a cluster's. It keeps no accounts.
    command += "--slurm-init-seconds-before-status-checks 2".split()
    path = os.pathsep.join([str(study.folder / "profiles/slurm/no-accounting"), os.environ["PATH"]])
    output = study.folder / "sweep.log"
    with open(output, "w") as file:
        environment = os.environ | {"PATH": path}
        snakemake = subprocess.Popen(command, cwd=study.folder, env=environment, stdout=file, stderr=file)
        try:
            process = stop_one_in_training(study, snakemake)
            run = run_of(process)
            cluster.end("slurmctld")
            time.sleep(10)  # squeue gives a controller nine seconds to answer
            cluster.start_controller()
            job = process.environ()["SLURM_JOB_ID"]
            subprocess.run(["scancel", "--signal=KILL", job], check=True)
            status = snakemake.wait(timeout=500)
        except subprocess.TimeoutExpired:
            queue = cluster.ask("squeue", "--states=all", "--long")
            controller = (cluster.folder / "log/slurmctld.out").read_text()
            pytest.fail("\n".join(["The sweep does not end.", output.read_text(), queue, controller[-10000:]]))
        finally:
            snakemake.kill()
    return Sweep(study, output.read_text(), status, watch.end(), run)


def stop_one_in_training(study: Study, snakemake: subprocess.Popen) -> psutil.Process:
    """Halt the first worker that has written a checkpoint and is not done, so that it can be killed at leisure."""
    known: dict[str, psutil.Process] = {}
    while snakemake.poll() is None:
        for lock in (study.folder / "results/runs").glob("*/.lock"):
            if lock.parent.name not in known:
                found = {run_of(process): process for process, _ in workers(study.folder)}
                known |= {run: process for run, process in found.items() if run}
        for manifest in (study.folder / "results/runs").glob("*/checkpoints/*/manifest.json"):
            process = known.get(manifest.parts[-4])
            if process and process.is_running():
                process.suspend()
                if not (manifest.parents[2] / "training.json").exists():
                    return process
                process.resume()
        time.sleep(0.002)
    raise AssertionError((study.folder / "sweep.log").read_text())


def run_of(process: psutil.Process) -> str | None:
    """The run that a worker trains: it holds the run's lock."""
    try:
        files = [Path(file.path) for file in process.open_files()]
    except psutil.Error:
        return None
    return next((file.parent.name for file in files if file.name == ".lock"), None)


@pytest.mark.slow
def test_sweep_through_slurm(sweep, finished_study):
    assert sweep.status == 0, sweep.output
    assert_each_had_a_device(sweep.seen, sweep.study)
    assert_same_summary(sweep.study, finished_study)


@pytest.mark.slow
def test_job_killed_by_scancel_goes_on_to_the_same_result(sweep, finished_study):
    ours, theirs = (one.folder / "results/runs" / sweep.killed for one in (sweep.study, finished_study))
    assert records.read_json(ours / "training.json")["outcome"]["resumes"] == 1
    adapters = [(folder / "adapter/adapter_model.safetensors").read_bytes() for folder in (ours, theirs)]
    assert adapters[0] == adapters[1]
    histories = [pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (ours, theirs)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


@pytest.mark.slow
def test_controller_that_was_away_cost_the_sweep_nothing(sweep, cluster):
    """No job but the killed one was started twice, and none is left in the queue."""
    said = (cluster.folder / "log/slurmctld.out").read_text()
    assert said.count("Running as primary controller") == 2
    assert sweep.output.count("it is tried again") == 1, sweep.output
    assert cluster.ask("squeue", "--noheader") == ""
