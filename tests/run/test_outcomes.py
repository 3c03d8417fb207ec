"""How runs that cannot end well end: as a row that says why, on real limits."""

import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import tiny
import torch
from conftest import RESULTS, RUN, Study
from frontier import outcomes, paths, records
from frontier.machine.phases import Phases
from frontier.run import accuracy, clock, cost, evaluation, perplexity, recovery
from frontier.run.guard import Guard
from frontier.study import requests, schema
from job_doubles import ANSWERED, EVALUATED, OUTPUTS, Job, inputs_of, job_of, start
from transformers import TrainerState


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
    assert accuracies.loc["fp32", list(outcomes.ACCURACY)].isna().all()
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
    tokens = pd.DataFrame({"input_ids": [[5] * 24_000] * 8, "labels": [[-100] + [5] * 23_999] * 8})
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
    outputs, function = OUTPUTS, "run.train.train_adapter"
    if kind == "evaluate":
        outputs, function = EVALUATED, "run.perplexity.evaluate"
        inputs = {key: inputs[key] for key in ("base", "tokens", "model", "proof")}
    if kind == "answer":
        outputs, function = ANSWERED, "run.accuracy.measure_accuracy"
        rows = [{"question": "q" * (8000 - index), "answer": "#### 1"} for index in range(8)]
        (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        inputs = {key: inputs[key] for key in ("base", "model", "proof")} | {"problems": str(tmp_path / "long.jsonl")}
        study = trained.config | {"data": trained.config["data"] | {"max_length": 9000}}
        record["request"] = requests.accuracy_request(schema.resolve(study), "fp32")
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


def test_the_trainers_last_words_are_no_logged_step():
    """Two steps that are not finite are not three because the Trainer logs once more at its end."""
    known = clock.Clock("run", torch.device("cpu"))
    guard = Guard(known, {}, "identity")
    state = TrainerState(global_step=3)
    for loss in (1.0, None, None):
        known.history.append({"loss": loss})
        guard.on_log(None, state, None)
    guard.on_log(None, state, None)
    known.history.append({"loss": None})
    with pytest.raises(outcomes.Stop, match="not finite for 3"):
        guard.on_log(None, state, None)


@pytest.mark.skipif(sys.platform != "linux", reason="memory budgets without CUDA need Linux's data limit")
def test_a_budget_smaller_than_threads_stacks_refuses_none():
    """OpenMP ends a process that cannot start its threads, and of this nobody would make a row."""
    lines = [
        "import psutil, torch",
        "from frontier.machine import limits",
        "torch.set_num_threads(64)",
        "limits.set_memory_limit(psutil.Process().memory_info().rss / 2**30 + 0.2, None)",
        "print(float(torch.ones(2**22).mul(2).sum()))",
    ]
    variables = os.environ | {"PYTHONPATH": str(paths.SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", "; ".join(lines)], env=variables, capture_output=True, text=True)
    assert done.stdout == f"{2.0**23}\n", done.stderr


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


@pytest.mark.parametrize("first", [torch.OutOfMemoryError("CUDA out of memory"), ValueError("a bug")])
def test_an_error_that_hides_another_means_what_that_does(first):
    """As the end of a CUDA graph's recording does, whose step was refused memory; a hidden bug stays one."""

    class Recording:
        def __enter__(self):
            pass

        def __exit__(self, *raised):
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    with pytest.raises(RuntimeError, match="during capture") as caught, Recording():
        raise first
    outcome = outcomes.from_error(caught.value)
    assert (outcome or {}).get("status") == ("oom" if isinstance(first, torch.OutOfMemoryError) else None)


def test_an_error_that_is_raised_in_anothers_place_means_itself():
    error = ValueError("raised from None")
    error.__context__, error.__suppress_context__ = MemoryError(), True
    assert outcomes.from_error(error) is None


def test_a_status_is_written_as_its_plain_word(tmp_path):
    for status in outcomes.Status:
        records.write_json(tmp_path / "record.json", {"status": status})
        assert (tmp_path / "record.json").read_text() == f'{{\n  "status": "{status.value}"\n}}\n'
        assert json.dumps([status, f"{status}", str(status)]) == json.dumps([status.value] * 3)
        assert records.digest({"status": status}) == records.digest({"status": status.value})
    assert set(outcomes.Status) == {"ok", "oom", "over_time", "diverged", "spilled", "unmeasured"}


def test_an_error_that_is_no_outcome_is_raised_on_once_the_others_had_their_time():
    phases, told = Phases(torch.device("cpu")), []
    with pytest.raises(RuntimeError, match="a bug"), recovery.caught(phases, lambda: told.append("settled")):
        raise RuntimeError("a bug")
    with pytest.raises(ValueError, match="elsewhere"), recovery.caught(phases, lambda: told.append("settled")):
        raise ValueError("elsewhere")
    assert told == ["settled"]
    with recovery.caught(phases) as ending:
        pass
    assert (ending.outcome, ending.error) == (None, None)
    with recovery.caught(phases) as ending:
        raise outcomes.Stop(outcomes.Status.OVER_TIME, "late", projected_hours=2.0)
    assert ending.outcome == {"phase": "load", "status": "over_time", "reason": "late", "projected_hours": 2.0}


@pytest.fixture
def broken_context(monkeypatch):
    """CUDA that answers each call with the error of the first; its text."""
    text = "CUDA error: out of memory"

    def fail(*_):
        raise torch.AcceleratorError(text)

    for name in ("get_device_properties", "mem_get_info", "max_memory_allocated", "synchronize", "get_device_name"):
        monkeypatch.setattr(torch.cuda, name, fail)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return text


def judged(entry, folder, outputs: dict, device: str, inputs: dict) -> dict:
    """The outcome of an evaluation or accuracy, by its entry function, whose inputs are these records."""
    for name, record in inputs.items():
        records.write_json(folder / f"{name}.json", record)
    paths = {name: folder / f"{name}.json" for name in inputs}
    outputs = {name: str(folder / file) for name, file in outputs.items()}
    entry({"request": {"device": device, "cpu_threads": 1}, "input": paths, "output": outputs})
    return records.read_json(outcomes.record_of(outputs))["outcome"]


@pytest.mark.parametrize(
    ("entry", "outputs"), [(perplexity.evaluate, EVALUATED), (accuracy.measure_accuracy, ANSWERED)]
)
def test_a_judgements_record_needs_no_device_that_is_lost(tmp_path, monkeypatch, broken_context, entry, outputs):
    monkeypatch.setattr(evaluation, "describe_environment", lambda *_: {})
    outcome = judged(entry, tmp_path, outputs, "cuda", {"model": {"architecture_only": False}})
    assert (outcome["status"], outcome["phase"], outcome["reason"]) == ("oom", "load", "out of memory")
    assert outcome["phases"]["import"]["host_gib"] > 0


def test_a_trainings_record_needs_no_device_that_is_lost(broken_context):
    phases = Phases(torch.device("cuda"))
    phases.current = "steady"
    with recovery.caught(phases) as ending:
        raise torch.AcceleratorError(broken_context)
    outcome = cost.unfinished(ending.outcome, phases, clock.Clock(RUN, torch.device("cuda"), phases), {})
    assert (outcome["status"], outcome["phase"], outcome["reason"]) == ("oom", "train", "out of memory")
    assert outcome["memory_metric"] == "cuda_allocated"
    assert outcome["peak_host_gib"] > 0
    assert outcome["peak_allocated_gib"] is None


@pytest.mark.parametrize(
    ("module", "entry", "judge", "outputs"),
    [(perplexity, "evaluate", "measure_perplexity", EVALUATED), (accuracy, "measure_accuracy", "solve", ANSWERED)],
)
@pytest.mark.parametrize(
    ("trained", "architecture_only", "status"),
    [("spilled", False, "judged"), ("oom", False, "oom"), ("ok", True, "ok")],
)
def test_what_left_an_adapter_of_real_weights_is_judged_and_nothing_else(
    tmp_path, monkeypatch, module, entry, judge, outputs, trained, architecture_only, status
):
    monkeypatch.setattr(module, judge, lambda *_: {"status": "judged"})
    monkeypatch.setattr(evaluation, "describe_environment", lambda *_: {})
    training_ = {"outcome": {"status": trained, "phase": "train", "reason": "r"}}
    inputs = {"training": training_, "model": {"architecture_only": architecture_only}}
    assert judged(getattr(module, entry), tmp_path, outputs, "cpu", inputs)["status"] == status
