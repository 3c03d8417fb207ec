"""How runs that cannot end well end: as a row that says why, on real limits and real kills."""

import json
import os
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
import torch
from conftest import RESULTS, RUN, Study
from frontier import accuracy, clock, config, evaluation, measure, outcomes, records, supervise, training
from frontier.spill import Sample, is_spilled
from jobs import OUTPUTS, Job, inputs_of, job_of, start

EVALUATED = {"evaluation": "evaluation.json", "losses": "nll.parquet"}
ANSWERED = {"accuracy": "accuracy.json", "answers": "answers.parquet"}


@pytest.mark.skipif(sys.platform != "linux", reason="memory budgets without CUDA need Linux's data limit")
def test_out_of_memory_in_each_phase_is_a_row_and_a_complete_dag(new_study, tmp_path):
    """A budget below the imports (load), and ones that the training and the evaluation pass, through Snakemake."""
    study = new_study(precisions=["fp32"], ranks=[4], steps=2, budget={"memory_gib": 0.1}, accuracy={"measure": True})
    study.run()
    (row,) = pd.read_csv(study.folder / "results/summary.csv").to_dict("records")
    assert (row["status"], row["phase"]) == ("oom", "load")
    assert "below" in row["reason"]
    assert pd.isna(row["perplexity"])
    assert pd.isna(row["train_seconds"])
    assert pd.isna(row["accuracy_strict"])
    assert (study.folder / "results/figures/memory_time.png").stat().st_size > 0
    accuracies = pd.read_csv(study.folder / "results/accuracy.csv").set_index("run")
    assert list(accuracies["status"]) == ["oom", "oom"]
    assert accuracies["reason"].str.contains("is below the").all()
    assert accuracies.loc["fp32", list(accuracy.COLUMNS)].isna().all()
    # Lifting the budget makes again what did not end ok.
    study.configure(budget={"memory_gib": None})
    planned = study.plan()
    assert planned["train_adapter"] == planned["measure_accuracy"] == [RUN]
    assert planned["measure_base_accuracy"] == ["fp32"]
    study.run(f"{RESULTS}/training.json")
    assert records.read_json(study.folder / f"{RESULTS}/training.json")["outcome"]["status"] == "ok"


def test_another_budget_and_what_skips_hopeless_runs_leave_alone_what_ended_ok(trained, tmp_path):
    study = Study(tmp_path / "study")
    shutil.copytree(trained.folder, study.folder, symlinks=True)
    study.configure(budget={"memory_gib": 50}, skip_hopeless=True)
    assert not {"train_adapter", "evaluate_adapter", "evaluate_base"} & set(study.plan())


@pytest.mark.skipif(sys.platform != "linux", reason="memory budgets without CUDA need Linux's data limit")
@pytest.mark.parametrize(
    ("kind", "phase"), [("load", "load"), ("train", "train"), ("evaluate", "evaluate"), ("answer", "evaluate")]
)
def test_refused_allocations_are_outcomes_of_their_phase(trained, tmp_path, kind, phase):
    """A model, a batch, an evaluation and an answer too large for what the budget leaves beside the imports."""
    wide = {"hidden_size": 2048, "intermediate_size": 4096, "num_hidden_layers": 4, "vocab_size": 30000}
    tokens = pd.DataFrame({"input_ids": [[5] * 8000] * 8, "labels": [[-100] + [5] * 7999] * 8})
    tokens.to_parquet(tmp_path / "long.parquet")
    inputs = inputs_of(trained)
    record = job_of(trained, "evaluation" if kind in ("evaluate", "answer") else "training")
    imports = records.read_json(trained.folder / f"{RESULTS}/training.json")["outcome"]["phases"]["import"]["host_gib"]
    if kind == "load":
        folder = tiny.write_model(tmp_path / "wide", **wide)
        records.write_json(tmp_path / "base.json", {"folder": str(folder), "precision": "fp32", "digest": ""})
        inputs["base"] = str(tmp_path / "base.json")
    else:
        inputs["tokens"] = str(tmp_path / "long.parquet")
    outputs, function = OUTPUTS, "training.run"
    if kind == "evaluate":
        outputs, function = EVALUATED, "evaluation.run"
        inputs = {key: inputs[key] for key in ("base", "tokens", "model")}
    if kind == "answer":
        outputs, function = ANSWERED, "accuracy.run"
        rows = [{"question": "q" * (8000 - index), "answer": "#### 1"} for index in range(8)]
        (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        inputs = {key: inputs[key] for key in ("base", "model")} | {"problems": str(tmp_path / "long.jsonl")}
        study = trained.config | {"data": trained.config["data"] | {"max_length": 9000}}
        record["request"] = config.accuracy_request(config.resolve(study), "fp32")
    job = Job(record, tmp_path, inputs, outputs, memory_gib=imports + 0.1)
    supervisor = start(job, function)
    _, errors = supervisor.communicate(timeout=120)
    assert supervisor.returncode == 0, errors + (tmp_path / "job.log").read_text()
    outcome = records.read_json(tmp_path / next(iter(outputs.values())))["outcome"]
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


@pytest.fixture
def stand_in(monkeypatch):
    """A function that has a Python program stand for the process that a supervisor starts."""

    def install(program: str) -> None:
        def start(function, variables, files):
            streams = dict(zip(("stdin", "stdout", "stderr"), files[:3], strict=True))
            return subprocess.Popen([sys.executable, "-c", program], start_new_session=True, **streams)

        monkeypatch.setattr(supervise, "start", start)

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
    monkeypatch.setattr(supervise, "STALL_SECONDS", 1)
    counts = iter([3, 4])
    monkeypatch.setattr(supervise, "kernel_kills", lambda: next(counts))
    request = {"name": RUN, "precision": "fp32", "rank": 4, "seed": 0, "split": "test", "device": "cpu"}
    record = {"digest": "", "request": request, "tracked": None, "limits": {"memory_gib": budget}}
    supervise.run("accuracy.run", Job(record, tmp_path, {}, ANSWERED))
    assert pd.read_parquet(tmp_path / "answers.parquet").empty
    record = tmp_path / "accuracy.json"
    accuracy.gather({"input": {"bases": [], "runs": [record]}, "output": {"table": tmp_path / "accuracy.csv"}})
    (row,) = pd.read_csv(tmp_path / "accuracy.csv").to_dict("records")
    assert (row["run"], row["status"]) == (RUN, "oom")
    assert row["reason"].startswith(reason)
    assert all(pd.isna(row[name]) for name in accuracy.COLUMNS)


WAITING = "import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"


def test_a_process_that_waits_for_a_busy_child_is_not_hung(tmp_path, monkeypatch, stand_in):
    monkeypatch.setattr(supervise, "STALL_SECONDS", 1.5)
    busy = "import time\nend = time.monotonic() + 3\nwhile time.monotonic() < end: pass"
    stand_in(WAITING.format(child=busy))
    with open(tmp_path / "job.log", "w") as log:
        child = supervise.Child("", {"request": {}}, log)
        assert not child.watch()
    assert child.status == 0


def test_a_process_whose_child_is_idle_too_is_hung_and_leaves_no_orphan(tmp_path, monkeypatch, stand_in):
    monkeypatch.setattr(supervise, "STALL_SECONDS", 1)
    stand_in(WAITING.format(child="import os, time; print(os.getpid(), flush=True); time.sleep(60)"))
    with open(tmp_path / "job.log", "w") as log:
        child = supervise.Child("", {"request": {}}, log)
        while not child.last_line:
            assert child.process.poll() is None
            time.sleep(0.01)
        idle = psutil.Process(int(child.last_line))
        assert child.watch()
    gone, _ = psutil.wait_procs([idle], timeout=10)
    assert gone or idle.status() == psutil.STATUS_ZOMBIE


def test_a_budget_of_hours_that_is_spent(trained, tmp_path):
    job = Job(job_of(trained), tmp_path, inputs_of(trained), OUTPUTS, hours=1e-7)
    assert start(job).wait() == 0
    outcome = records.read_json(tmp_path / "training.json")["outcome"]
    assert (outcome["status"], outcome["phase"], outcome["steps"]) == ("over_time", "train", 1)
    total = job_of(trained)["request"]["training"]["steps"]
    assert outcome["reason"] == f"the budget of 1e-07 h was spent at step 1 of {total}"
    assert outcome["projected_hours"] > 1e-7
    assert outcome["train_seconds"] is None


def test_a_training_projected_past_its_budget_of_hours(trained, tmp_path):
    """Stopped as soon as its steps foretell the end, long before the budget is spent."""
    job = job_of(trained)
    job["request"]["training"] |= {"epochs": None, "steps": 100_000}
    assert start(Job(job, tmp_path, inputs_of(trained), OUTPUTS, hours=0.05)).wait() == 0
    outcome = records.read_json(tmp_path / "training.json")["outcome"]
    assert (outcome["status"], outcome["steps"]) == ("over_time", clock.WARM_UP_STEPS + 20)
    assert outcome["projected_hours"] > 0.05
    assert outcome["reason"].startswith("projected to take ")


@pytest.mark.parametrize(
    ("steady", "expected"),
    [
        ([0.9], None),
        ([0.5] * 19, None),
        ([0.5] * 20, 10 + 50),
        ([0.5] * 19 + [40.0], 10 + 50),
        ([90.0], None),
        ([90.0, 50.0, 70.0], 10 + 7000),
    ],
    ids="one few enough one-far-longer one-of-minutes slow".split(),
)
def test_what_a_training_foretells_of_its_end(steady, expected):
    assert clock.project(10.0, steady, 100) == expected


def test_diverged(trained, tmp_path):
    job = job_of(trained)
    job["request"]["training"] |= {"learning_rate": 1e30, "max_grad_norm": 0.0}
    assert start(Job(job, tmp_path, inputs_of(trained), OUTPUTS)).wait() == 0
    outcome = records.read_json(tmp_path / "training.json")["outcome"]
    assert (outcome["status"], outcome["phase"]) == ("diverged", "train")
    assert "not finite" in outcome["reason"]
    history = pd.read_csv(tmp_path / "history.csv")
    assert history["loss"].tail(3).isna().all()


@pytest.mark.parametrize(
    ("text", "gib"),
    [
        ("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1073741824 bytes. Error", 1),
        ("unable to mmap 2147483648 bytes from file <model.safetensors>: Cannot allocate memory (12)", 2),
        ("CUDA out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total capacity of 79.18 GiB", 0.5),
        ("CUDA out of memory. Tried to allocate 512 bytes. GPU 0 has a total capacity of 79.18 GiB", 2**-21),
    ],
)
def test_every_form_of_a_refused_allocation(text, gib):
    assert outcomes.from_error(RuntimeError(text)) == {
        "status": "oom",
        "reason": f"out of memory: {gib:.2f} GiB more were refused",
        "refused_gib": gib,
    }


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation' in https://"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("CUDA NVRTC error: NVRTC_ERROR_OUT_OF_MEMORY"),
        torch.OutOfMemoryError("Allocation on device 0 would exceed allowed memory. (out of memory)"),
        MemoryError(),
    ],
    ids=str,
)
def test_a_refusal_that_names_no_size(error):
    assert outcomes.from_error(error) == {"status": "oom", "reason": "out of memory", "refused_gib": None}


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("size mismatch for weight"),
        ValueError("memory"),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    ],
    ids=str,
)
def test_other_errors_are_no_outcome(error):
    assert outcomes.from_error(error) is None


@pytest.fixture
def broken_context(monkeypatch):
    """CUDA that answers each call with the error of the first; its text."""
    text = "CUDA error: out of memory"

    def fail(*_):
        raise torch.AcceleratorError(text)

    for name in ("mem_get_info", "max_memory_allocated", "synchronize", "get_device_name"):
        monkeypatch.setattr(torch.cuda, name, fail)
    return text


@pytest.mark.parametrize(
    ("module", "judge", "outputs"), [(evaluation, "evaluate", EVALUATED), (accuracy, "solve", ANSWERED)]
)
def test_a_judgements_record_needs_no_device_that_is_lost(
    tmp_path, monkeypatch, broken_context, module, judge, outputs
):
    def fail(*_):
        raise torch.AcceleratorError(broken_context)

    monkeypatch.setattr(module, judge, fail)
    monkeypatch.setattr(measure, "environment", lambda *_: {})
    outputs = {name: str(tmp_path / file) for name, file in outputs.items()}
    module.run({"request": {"device": "cuda", "cpu_threads": 1}, "input": {}, "output": outputs})
    outcome = records.read_json(outcomes.record_of(outputs))["outcome"]
    assert (outcome["status"], outcome["phase"], outcome["reason"]) == ("oom", "load", "out of memory")
    assert outcome["phases"]["import"]["host_gib"] > 0


def test_a_trainings_record_needs_no_device_that_is_lost(broken_context):
    phases = measure.Phases(torch.device("cuda"))
    phases.current = "steady"
    refusal = outcomes.from_error(torch.AcceleratorError(broken_context))
    outcome = training.unfinished(refusal, phases, clock.Clock(RUN, torch.device("cuda"), phases), {})
    assert (outcome["status"], outcome["phase"], outcome["reason"]) == ("oom", "train", "out of memory")
    assert outcome["memory_metric"] == "cuda_allocated"
    assert outcome["peak_host_gib"] > 0
    assert outcome["peak_allocated_gib"] is None


@pytest.mark.parametrize(
    ("module", "judge", "outputs"), [(evaluation, "evaluate", EVALUATED), (accuracy, "solve", ANSWERED)]
)
@pytest.mark.parametrize(("status", "is_judged"), [("spilled", True), ("oom", False)])
def test_what_left_an_adapter_is_judged_and_nothing_else(
    tmp_path, monkeypatch, module, judge, outputs, status, is_judged
):
    monkeypatch.setattr(module, judge, lambda *_: {"status": "ok"})
    monkeypatch.setattr(measure, "environment", lambda *_: {})
    inputs = {"training": tmp_path / "training.json"}
    records.write_json(inputs["training"], {"outcome": {"status": status, "phase": "train", "reason": "r"}})
    outputs = {name: str(tmp_path / file) for name, file in outputs.items()}
    module.run({"request": {"device": "cpu", "cpu_threads": 1}, "input": inputs, "output": outputs})
    assert records.read_json(outcomes.record_of(outputs))["outcome"]["status"] == ("ok" if is_judged else status)


def trace(*rows) -> list[Sample]:
    return [Sample(*row) for row in rows]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], False),
        (trace(*[(5.0 + 0.1 * i, 4.8 + 0.1 * i, 6.0, 0.9 - 0.1 * i) for i in range(8)]), False),
        (trace((5.9, 5.8, 6.0, 0.0), (6.4, 6.3, 6.0, 0.0)), True),
        (trace(*[(5.1 + 0.05 * i, 5.0 + 0.05 * i, 6.0, 0.01) for i in range(6)]), True),
        (trace(*[(5.6, 5.0 + (i % 2) * 0.3, 6.0, 0.01) for i in range(9)]), False),
        (trace(*[(5.6, 3.0 + 2.0 * ((i * 7) % 5) / 5, 6.0, 0.02) for i in range(20)]), False),
        (trace(*[(5.1 + 0.05 * i, 5.0 + 0.05 * i, 6.0, 0.01 if i % 3 else 0.4) for i in range(12)]), False),
        (trace(*[(15.0, 14.0, 6.0, 0.0)] * 2), True),
        (trace(*[(3.1 + 0.2 * i, 3.0 + 0.2 * i, 6.0, max(0.0, 0.6 - 0.2 * i)) for i in range(10)]), True),
        (
            trace(*[(3.1 + 0.2 * min(i, 3), 3.0 + 0.2 * min(i, 3), 6.0, max(0.0, 0.6 - 0.2 * i)) for i in range(10)]),
            False,
        ),
    ],
    ids=[
        "none",
        "fits",
        "holds more",
        "grows while full",
        "steady while full",
        "moves within what it holds while full",
        "room in between",
        "paging",
        "WSL, this process unknown and a desktop beside it: grows on",
        "WSL, this process unknown and a desktop beside it: full and steady",
    ],
)
def test_spill_detector_on_traces(samples, expected):
    assert is_spilled(samples) is expected
