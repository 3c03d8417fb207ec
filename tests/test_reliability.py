"""Runs that cannot end well, and runs that are killed: what is recorded, what is resumed, what is lost (nothing)."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import tiny
from conftest import Study
from frontier import checkpoints, outcomes, records, retries, supervise
from frontier.spill import Sample, is_spilled
from jobs import Job, start

RUN = "fp32-r4-s0"
RESULTS = f"results/runs/{RUN}"
SECRET = "hf_not-for-any-log-or-record"


def job_of(study: Study, kind: str = "training") -> dict:
    """The job that Snakemake would hand to the study's one training, its material being there."""
    record = records.read_json(study.folder / f"{RESULTS}/{kind}.json")
    return {key: record[key] for key in ("digest", "request", "tracked", "limits")}


OUTPUTS = {"training": "training.json", "history": "history.csv", "adapter": "adapter"}


@pytest.fixture(scope="module")
def trained(new_study) -> Study:
    """A study of one run that takes a few seconds, finished undisturbed."""
    study = new_study(
        precisions=["fp32"], ranks=[4], steps=40, batch_size=8, lora={"dropout": 0.1}, checkpoint_minutes=None
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", SECRET)
        study.run(f"{RESULTS}/evaluation.json", "results/baselines/fp32/evaluation.json")
    return study


def inputs_of(study: Study) -> dict:
    resources = study.folder / "resources"
    return {
        "base": str(resources / "bases/fp32.json"),
        "tokens": str(resources / "tokens/train.parquet"),
        "model": str(resources / "model.json"),
        "material": str(resources / "tokens/tokens.json"),
    }


def worker_of(supervisor: subprocess.Popen) -> psutil.Process:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for child in psutil.Process(supervisor.pid).children():
            if "frontier.worker" in child.cmdline():
                return child
        time.sleep(0.02)
    raise AssertionError("no worker was started")


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
        worker = worker_of(supervisor)
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
    worker = worker_of(supervisor)
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


@pytest.mark.skipif(sys.platform != "linux", reason="memory budgets without CUDA need Linux's data limit")
def test_out_of_memory_in_each_phase_is_a_row_and_a_complete_dag(new_study, tmp_path):
    """A budget below the imports (load), and ones that the training and the evaluation pass, through Snakemake."""
    study = new_study(precisions=["fp32"], ranks=[4], steps=2, budget={"memory_gib": 0.1})
    study.run()
    (row,) = pd.read_csv(study.folder / "results/summary.csv").to_dict("records")
    assert (row["status"], row["phase"]) == ("oom", "load")
    assert "below" in row["reason"]
    assert pd.isna(row["perplexity"])
    assert pd.isna(row["train_seconds"])
    assert (study.folder / "results/figures/memory_time.png").stat().st_size > 0
    # Lifting the budget makes again what did not end ok.
    study.configure(budget={"memory_gib": None})
    assert study.plan()["train_adapter"] == [RUN]
    study.run("results/summary.csv")
    assert set(pd.read_csv(study.folder / "results/summary.csv")["status"]) == {"ok"}
    # And what did is left alone, whatever the budget.
    study.configure(budget={"memory_gib": 50})
    assert not {"train_adapter", "evaluate_adapter", "evaluate_base"} & set(study.plan())


@pytest.mark.skipif(sys.platform != "linux", reason="memory budgets without CUDA need Linux's data limit")
@pytest.mark.parametrize(("kind", "phase"), [("load", "load"), ("train", "train"), ("evaluate", "evaluate")])
def test_refused_allocations_are_outcomes_of_their_phase(trained, tmp_path, kind, phase):
    """A model, a batch and an evaluation too large for what the budget leaves beside the imports."""
    wide = {"hidden_size": 2048, "intermediate_size": 4096, "num_hidden_layers": 4, "vocab_size": 30000}
    tokens = pd.DataFrame({"input_ids": [[5] * 8000] * 8, "labels": [[-100] + [5] * 7999] * 8})
    tokens.to_parquet(tmp_path / "long.parquet")
    inputs = inputs_of(trained)
    record = job_of(trained, "evaluation" if kind == "evaluate" else "training")
    imports = records.read_json(trained.folder / f"{RESULTS}/training.json")["outcome"]["phases"]["import"]["host_gib"]
    if kind == "load":
        folder = tiny.write_model(tmp_path / "wide", **wide)
        records.write_json(tmp_path / "base.json", {"folder": str(folder), "precision": "fp32", "digest": ""})
        inputs["base"] = str(tmp_path / "base.json")
    else:
        inputs["tokens"] = str(tmp_path / "long.parquet")
    outputs, function = OUTPUTS, "training.run"
    if kind == "evaluate":
        outputs, function = {"evaluation": "evaluation.json", "losses": "nll.parquet"}, "evaluation.run"
        inputs = {key: inputs[key] for key in ("base", "tokens", "model")}
    job = Job(record, tmp_path, inputs, outputs, memory_gib=imports + 0.25)
    supervisor = start(job, function)
    _, errors = supervisor.communicate(timeout=120)
    assert supervisor.returncode == 0, errors + (tmp_path / "job.log").read_text()
    name = "evaluation.json" if kind == "evaluate" else "training.json"
    outcome = records.read_json(tmp_path / name)["outcome"]
    assert (outcome["status"], outcome["phase"]) == ("oom", phase)
    assert "more were refused" in outcome["reason"]
    assert outcome["refused_gib"] > 0
    if kind == "load":
        assert "the weights alone need" in outcome["reason"]


@pytest.mark.parametrize("counter_rose", [True, False])
def test_sigkill_of_the_training_alone(trained, tmp_path, monkeypatch, counter_rose):
    """A row only where the kernel's own counter of out-of-memory kills rose meanwhile."""
    counts = iter([3, 4 if counter_rose else 3])
    monkeypatch.setattr(supervise, "kernel_kills", lambda: next(counts))
    job = Job(job_of(trained), tmp_path, inputs_of(trained), OUTPUTS)
    real = supervise.Child.watch

    def watch(child):
        deadline = time.monotonic() + 30
        while child.environment is None and time.monotonic() < deadline:
            time.sleep(0.01)
        child.last_gib = psutil.Process(child.process.pid).memory_info().rss / 2**30
        os.kill(child.process.pid, signal.SIGKILL)
        child.process.wait()
        return real(child)

    monkeypatch.setattr(supervise.Child, "watch", watch)
    if counter_rose:
        supervise.run("training.run", job)
        record = records.read_json(tmp_path / "training.json")
        assert record["outcome"]["status"] == "oom"
        assert record["outcome"]["reason"].startswith("killed by the kernel, out of memory; 0.")
        assert record["environment"]["packages"]["torch"]
        assert (tmp_path / "adapter").is_dir()
    else:
        with pytest.raises(SystemExit, match="SIGKILL"):
            supervise.run("training.run", job)
        assert not (tmp_path / "training.json").exists()


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
    tokens = pd.DataFrame({"input_ids": [[5] * 8000] * 8, "labels": [[-100] + [5] * 7999] * 8})
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
    monkeypatch.setattr(supervise, "STALL_SECONDS", 2)
    real = supervise.Child.watch

    def watch(child):
        while child.environment is None:
            time.sleep(0.01)
        os.kill(child.process.pid, signal.SIGSTOP)
        return real(child)

    monkeypatch.setattr(supervise.Child, "watch", watch)
    job = Job(job_of(trained), tmp_path, inputs_of(trained), OUTPUTS, memory_gib=budget)
    if budget:
        supervise.run("training.run", job)
        outcome = records.read_json(tmp_path / "training.json")["outcome"]
        assert (outcome["status"], outcome["reason"]) == ("oom", "no sign of life for 2 s under a budget of 4 GiB")
    else:
        with pytest.raises(SystemExit, match="hung and was ended"):
            supervise.run("training.run", job)
        assert not (tmp_path / "training.json").exists()


def test_projected_past_the_budget_of_hours(trained, tmp_path):
    job = Job(job_of(trained), tmp_path, inputs_of(trained), OUTPUTS, hours=1e-7)
    assert start(job).wait() == 0
    outcome = records.read_json(tmp_path / "training.json")["outcome"]
    assert (outcome["status"], outcome["phase"], outcome["steps"]) == ("over_time", "train", 4)
    assert outcome["projected_hours"] > 1e-7
    assert outcome["train_seconds"] is None


def test_over_time_can_go_on(trained, tmp_path):
    job = Job(job_of(trained), tmp_path, inputs_of(trained), OUTPUTS, hours=1e-7, continue_over_time=True)
    assert start(job).wait() == 0
    assert records.read_json(tmp_path / "training.json")["outcome"]["status"] == "ok"


def test_diverged(trained, tmp_path):
    job = job_of(trained)
    job["request"]["training"] |= {"learning_rate": 1e30, "max_grad_norm": 0.0}
    assert start(Job(job, tmp_path, inputs_of(trained), OUTPUTS)).wait() == 0
    outcome = records.read_json(tmp_path / "training.json")["outcome"]
    assert (outcome["status"], outcome["phase"]) == ("diverged", "train")
    assert "not finite" in outcome["reason"]
    history = pd.read_csv(tmp_path / "history.csv")
    assert history["loss"].tail(3).isna().all()


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


def test_phases_add_up_to_the_wall_clock(trained):
    record = records.read_json(trained.folder / RESULTS / "training.json")
    phases = record["outcome"]["phases"]
    assert {"import", "load", "warm_up", "steady", "between_steps", "save"} <= set(phases)
    assert sum(one["seconds"] for one in phases.values()) == pytest.approx(record["outcome"]["wall_seconds"])
    started, ended = (pd.Timestamp(record["environment"][key]) for key in ("started_at", "ended_at"))
    whole = (ended - started).total_seconds() + phases["import"]["seconds"]
    assert abs(whole - record["outcome"]["wall_seconds"]) < 0.02 * whole + 2  # UTC stamps are whole seconds
    assert phases["steady"]["host_gib"] > phases["import"]["host_gib"] * 0.5


def test_record_says_where_everything_came_from(trained):
    record = records.read_json(trained.folder / RESULTS / "training.json")
    assert record["material"]["model"]["files"]["model.safetensors"]
    assert record["material"]["data"]["examples"]["files"]["train"]
    assert {"torch", "transformers", "peft", "bitsandbytes", "snakemake"} <= set(record["environment"]["packages"])


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
        (disk / "filler").write_bytes(b"x" * (2**20 - 2 * _checkpoint_bytes(trained, tmp_path) - 2**14))
        supervisor = start(job)
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


def _checkpoint_bytes(trained, tmp_path) -> int:
    """What a checkpoint takes on disk, from one that a killed training left."""
    folder = tmp_path / "measured"
    folder.mkdir()
    supervisor = start(Job(job_of(trained), folder, inputs_of(trained), OUTPUTS, checkpoint_steps=39))
    while not list(folder.glob("checkpoints/checkpoint-*/manifest.json")):
        assert supervisor.poll() is None
        time.sleep(0.002)
    supervisor.kill()
    supervisor.wait()
    files = [path for path in (folder / "checkpoints").rglob("*") if path.is_file()]
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in files)


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
    tree = psutil.Process(snakemake.pid).children(recursive=True)
    snakemake.kill()
    snakemake.wait()
    _, alive = psutil.wait_procs([one for one in tree if "frontier.worker" in one.cmdline()], timeout=15)
    assert not alive
    assert not (folder / "results/runs/fp32-r4-s1/training.json").exists()
    locked = study.snakemake("--cores", "1", "results/runs/fp32-r4-s1/training.json")
    assert "unlock" in locked.stdout + locked.stderr
    path = {"PYTHONPATH": str(folder / "workflow/scripts")}
    subprocess.run([sys.executable, "-m", "frontier.unlock"], cwd=folder, env=os.environ | path, check=True)
    study.run("results/runs/fp32-r4-s1/training.json")
    assert (folder / RESULTS / "training.json").stat().st_mtime_ns == finished
    assert records.read_json(folder / "results/runs/fp32-r4-s1/training.json")["outcome"]["resumes"] == 1


@pytest.mark.parametrize(
    ("text", "gib"),
    [
        ("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1073741824 bytes. Error", 1),
        ("unable to mmap 2147483648 bytes from file <model.safetensors>: Cannot allocate memory (12)", 2),
        ("CUDA out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total capacity of 79.18 GiB", 0.5),
    ],
)
def test_every_form_of_a_refused_allocation(text, gib):
    assert outcomes.from_error(RuntimeError(text)) == {
        "status": "oom",
        "reason": f"out of memory: {gib:.2f} GiB more were refused",
        "refused_gib": gib,
    }


def test_other_errors_are_no_outcome():
    assert outcomes.from_error(RuntimeError("size mismatch for weight")) is None
    assert outcomes.from_error(ValueError("memory")) is None


def trace(*rows) -> list[Sample]:
    return [Sample(*row) for row in rows]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], False),
        (trace(*[(5.0 + 0.1 * i, 4.8 + 0.1 * i, 6.0, 0.9 - 0.1 * i) for i in range(8)]), False),
        (trace((5.9, 5.8, 6.0, 0.0), (6.4, 6.3, 6.0, 0.0)), True),
        (trace(*[(5.6, 5.0 + 0.05 * i, 6.0, 0.01) for i in range(6)]), True),
        (trace(*[(5.6, 5.0 + (i % 2) * 0.3, 6.0, 0.01) for i in range(9)]), False),
        (trace(*[(5.6, 5.0 + 0.05 * i, 6.0, 0.01 if i % 3 else 0.4) for i in range(12)]), False),
        (trace(*[(15.0, 14.0, 6.0, 0.0)] * 2), True),
    ],
    ids=["none", "fits", "holds more", "grows while full", "steady while full", "room in between", "paging"],
)
def test_spill_detector_on_traces(samples, expected):
    assert is_spilled(samples) is expected
