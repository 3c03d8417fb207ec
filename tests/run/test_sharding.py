"""One training over several processes: the result of one process, an honest record, and no process left behind."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pandas as pd
import psutil
import pytest
import shards
import torch
import yaml
from conftest import PYTHONPATH, ROOT
from frontier import records
from frontier.errors import UserError
from frontier.jobs import device_locks
from frontier.model import cache as cache_module
from frontier.model import packing
from frontier.model.bases import weights_gib
from frontier.model.data.tokens import IGNORED
from frontier.plan import table
from frontier.plan.step import emulated_card
from frontier.run import sharding
from frontier.study import plan_requests, preflight, requests, resources, runs, schema
from frontier.study.identities import study_identities
from job_doubles import OUTPUTS, Job, inputs_of, start, worker_of
from safetensors.torch import load_file
from test_cuda import full, supervised
from test_training import cache, job_of, material  # noqa: F401

RUN = "nf4-r4-s0"
SHIPPED = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
ENVIRONMENT = os.environ | {"PYTHONPATH": PYTHONPATH}


def distance(ours: dict, reference: dict) -> float:
    """The largest difference in any of the tensors, as a share of that one's largest value in the reference."""
    assert ours.keys() == reference.keys()
    largest = max(one.abs().max() for one in reference.values())
    return max(
        float((ours[name] - one).abs().max() / one.abs().max().clamp(min=1e-3 * largest))
        for name, one in reference.items()
    )


def in_processes(jobs: list[dict], processes: int, folder) -> list[list[dict]]:
    """Each job's gradients by so many processes, as the first of them has them."""
    told = {"jobs": jobs, "cache": str(cache_module.CACHE), "output": str(folder / "gradients.pt")}
    started = []
    for rank in range(processes):
        command = [sys.executable, str(ROOT / "tests/helpers/shards.py")]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, env=ENVIRONMENT, text=True))
        started[-1].stdin.write(json.dumps(told | {"share": [rank, processes]}))
        started[-1].stdin.close()
    assert [process.wait(timeout=120) for process in started] == [0] * processes
    return torch.load(told["output"])


def job_for(material, folder, run: str, **changes) -> dict:  # noqa: F811
    """A training of two steps, the second of which has fewer examples than a whole one, unclipped."""
    study, paths = material
    study = copy.deepcopy(study) | {"steps": None, "epochs": 1, "batch_size": 24, "max_grad_norm": 0.0} | changes
    precision = runs.precision_of(run)
    meeting = folder / "a folder with spaces"
    meeting.mkdir(exist_ok=True)
    return {
        "request": requests.training_request(study, run),
        "input": {"base": paths[precision], "tokens": paths["train"]},
        "folder": str(folder),
        "rendezvous": str(meeting / f"rendezvous-{run}-{len(changes)}"),
    }


def test_gradients_are_those_of_one_process(material, tmp_path):  # noqa: F811
    jobs = [
        job_for(material, tmp_path, "fp32-r4-s0"),
        job_for(material, tmp_path, "nf4-r4-s0"),
        job_for(material, tmp_path, "nf4-r8-s0", micro_batch_size=4, gradient_checkpointing=True),
    ]
    for job, found in zip(jobs, in_processes(jobs, 2, tmp_path), strict=True):
        expected = shards.gradients(job, sharding.Share())
        assert len(found) == len(expected) == 2
        for ours, reference in zip(found, expected, strict=True):
            assert len(ours) == 28
            assert distance(ours, reference) < 1e-4
        # At the first step only the half of the adapter that starts at zero has a gradient.
        assert all(gradient.abs().max() > 0 for gradient in found[1].values())


def test_examples_are_dealt_out_whole_and_once():
    examples = [{"input_ids": [length] * length, "labels": [length] * length} for length in (3, 9, 4, 7, 5)]
    parts = [sharding.deal(examples, sharding.Share(rank, 3)) for rank in range(3)]
    assert [part["lengths"] for part in parts] == [[9, 4], [7, 3], [5]]
    assert {part["dealt_tokens"] for part in parts} == {28}
    (nothing,) = [sharding.deal(examples[:1], sharding.Share(rank, 2)) for rank in (1,)]
    assert set(nothing["labels"].flatten().tolist()) == {IGNORED}
    assert nothing["dealt_tokens"] == 3
    assert packing.collate(examples[:1])["lengths"] == [3]


@pytest.fixture(scope="module")
def study(new_study):
    """A study whose one run was made by one process, and its files kept; then by two, evaluated."""
    made = new_study(precisions=["nf4"], ranks=[4], steps=None, epochs=1, batch_size=12, lora={"dropout": 0.0})
    made.run(f"results/runs/{RUN}/training.json")
    (made.folder / f"results/runs/{RUN}").rename(made.folder / "alone")
    made.configure(processes=2)
    made.run(f"results/runs/{RUN}/evaluation.json")
    return made


def test_a_study_of_two_processes_is_that_of_one(study):
    folders = study.folder / f"results/runs/{RUN}", study.folder / "alone"
    (two, one), (curve, reference) = zip(
        *((records.read_json(folder / "training.json"), pd.read_csv(folder / "history.csv")) for folder in folders),
        strict=True,
    )
    assert two["outcome"]["status"] == one["outcome"]["status"] == "ok"
    assert len(curve) == 4
    for column, tolerance in (("loss", 1e-4), ("grad_norm", 1e-4), ("learning_rate", 0), ("tokens", 0)):
        assert (curve[column] - reference[column]).abs().max() <= tolerance, column
    adapters = [load_file(folder / "adapter/adapter_model.safetensors") for folder in folders]
    assert distance(*adapters) < 1e-3
    for key in ("steps", "train_tokens", "trainable_parameters", "adapter"):
        assert two["outcome"][key] == one["outcome"][key]


def test_the_record_says_what_each_process_held(study):
    record = records.read_json(study.folder / f"results/runs/{RUN}/training.json")
    outcome = record["outcome"]
    assert record["request"]["processes"] == 2
    assert record["environment"]["device"].endswith(", 2 processes")
    assert record["environment"]["cpu_threads"] == 1
    assert outcome["levers"]["sharding"] == "FSDP2, 2 processes, gloo"
    each = outcome["processes"]
    assert len(each) == 2
    assert outcome["peak_memory_gib"] == max(one["peak_host_gib"] for one in each) > 0.1
    assert outcome["tokens_per_second"] == pytest.approx(outcome["train_tokens"] / outcome["train_seconds"])
    base = weights_gib(records.read_json(study.folder / "resources/bases/nf4.json") | {"folder": bases(study)})
    assert all(0.3 * base < one["weights_gib"] < 0.6 * base for one in each)
    evaluation = records.read_json(study.folder / f"results/runs/{RUN}/evaluation.json")
    first_loss = pd.read_csv(study.folder / f"results/runs/{RUN}/history.csv")["loss"][0]
    assert evaluation["outcome"]["status"] == "ok"
    assert evaluation["outcome"]["eval_loss"] < first_loss - 0.3
    assert "processes" not in evaluation["request"]


def bases(study) -> str:
    base = records.read_json(study.folder / "resources/bases/nf4.json")
    return str(study.folder / "resources/cache" / base["folder"])


def test_the_key_is_part_of_what_several_processes_made_alone(study):
    """A study from before there was the key, or with its default, plans as ever; another number trains again."""
    shipped = study.config
    assert study.plan(f"results/runs/{RUN}/evaluation.json") == {}
    study.configure(processes=3)
    assert study.plan(f"results/runs/{RUN}/evaluation.json") == {"train_adapter": [RUN], "evaluate_adapter": [RUN]}
    study.configure(**shipped)
    without = {key: value for key, value in shipped.items() if key != "processes"}
    one, default = schema.resolve(without | {"processes": 1}), schema.resolve(without)
    code = dict.fromkeys("fetch_model prove_model fetch_data tokenize_data prepare_base train_adapter".split(), "")
    identities = {study_identities(each, code)["training"](RUN) for each in (one, default)}
    two = study_identities(schema.resolve(shipped), code)["training"](RUN)
    assert len(identities) == 1
    assert two not in identities
    assert "processes" not in requests.training_request(one, RUN)
    assert "processes" not in plan_requests.plan_request(one)["study"]


@pytest.mark.parametrize(("device", "present", "fits"), [("auto", 0, True), ("auto", 1, False), ("cuda", 2, True)])
def test_as_many_gpus_as_processes_or_none(tmp_path, device, present, fits):
    (tmp_path / "dev").mkdir()
    for index in range(present):
        (tmp_path / f"dev/nvidia{index}").touch()
    study = schema.resolve(SHIPPED | {"processes": 2, "device": device})
    if fits:
        preflight.check_machine(study, tmp_path)
        return
    with pytest.raises(UserError, match=r"^config: processes: got 2, takes as many GPUs as are there; found 1$"):
        preflight.check_machine(study, tmp_path)


def test_a_training_claims_a_device_for_each_process(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")

    def busy(reason):
        raise InterruptedError(reason)

    with device_locks.claim({"device": "auto", "processes": 2}, busy, tmp_path) as claim:
        assert (claim.ids, claim.visible, len(claim.locks)) == (["4", "5"], ["4", "5"], 2)
        with pytest.raises(InterruptedError, match="waiting for 2 devices: 4, 5, 6 in use"):
            device_locks.claim({"device": "auto", "processes": 2}, busy, tmp_path).__enter__()
        # It has not kept the one that was free.
        with device_locks.claim({"device": "auto"}, busy, tmp_path) as other:
            assert other.ids == ["6"]
    with pytest.raises(UserError, match="processes: got 4, takes as many GPUs as are there; this job may use 3"):
        device_locks.claim({"device": "auto", "processes": 4}, busy, tmp_path).__enter__()


def test_a_scheduler_is_asked_for_a_device_for_each_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = schema.resolve(SHIPPED | {"processes": 2})
    asked = resources.for_rule(study, 2)
    assert (asked["gpu"], asked["nodes"], asked["cpus_per_task"], asked["mem_mb"]({"run": RUN})) == (2, 1, 8, 32 * 1024)
    # Where Snakemake is allowed one GPU, as by profiles/default, one such training runs at a time.
    assert [resources.for_rule(study, 2, limit)["gpu"] for limit in (1, 2, 4)] == [1, 2, 2]


def test_nothing_is_planned_for_several_devices():
    request = requests.training_request(schema.resolve(SHIPPED | {"processes": 2}), RUN)
    refusal = table._refusal(request, emulated_card.EmulatedCard(True, (8, 9)))
    assert refusal == f"plan: {RUN}: a plan is of one device, and this run is spread over 2 processes"


@pytest.fixture
def long_job(study, tmp_path) -> tuple[dict, dict]:
    """The record and inputs of the study's training, for one of more steps and with dropout."""
    record = records.read_json(study.folder / f"results/runs/{RUN}/training.json")
    record["request"]["training"] |= {"epochs": None, "steps": 30}
    record["request"]["lora"]["dropout"] = 0.1
    base = records.read_json(study.folder / "resources/bases/nf4.json") | {"folder": bases(study)}
    records.write_json(tmp_path / "nf4.json", base)
    return record, inputs_of(study) | {"base": str(tmp_path / "nf4.json")}


def test_an_outcome_of_the_first_process_is_the_rows(long_job, tmp_path):
    """Past its budget of hours, which the first process alone watches."""
    supervisor = start(Job(long_job[0], tmp_path, long_job[1], OUTPUTS, hours=1e-6))
    worker, others = worker_of(tmp_path), []
    while not others and supervisor.poll() is None:
        with suppress(psutil.Error):
            others = followers_of(worker)
    assert supervisor.wait(timeout=120) == 0
    outcome = records.read_json(tmp_path / "training.json")["outcome"]
    assert (outcome["status"], outcome["steps"]) == ("over_time", 1)
    assert len(others) == 1
    assert not others[0].is_running()


def test_any_end_ends_all_in_one_line_and_the_training_goes_on_from_there(long_job, tmp_path):
    """Killed twice, first one of the processes and then the supervisor; the adapter is the undisturbed one's."""
    record, inputs = long_job
    assert start(Job(record, tmp_path / "undisturbed", inputs, OUTPUTS)).wait(timeout=200) == 0
    folder, reached = tmp_path / "disturbed", 0
    job = Job(record, folder, inputs, OUTPUTS, checkpoint_steps=2)
    for target in ("another process", "the supervisor"):
        supervisor = start(job)
        worker, log = worker_of(folder), folder / "job.log"
        while (step := newest_step(folder)) <= reached and supervisor.poll() is None:
            time.sleep(0.01)
        assert step > reached, log.read_text()
        reached = step
        (other,) = followers_of(worker)
        (other if target == "another process" else supervisor).kill()
        _, errors = supervisor.communicate(timeout=30)
        _, left = psutil.wait_procs([worker, other], timeout=10)
        assert not left
        assert not (folder / "training.json").exists()
        if target == "another process":
            lines = [line for line in errors.splitlines() if line.startswith("error:")]
            assert lines == [f"error: run.train.train_adapter was ended by SIGKILL; see {log}"]
            assert log.read_text().splitlines()[-1] == "process 2 of 2 was ended by SIGKILL"
    assert start(job).wait(timeout=200) == 0, log.read_text()
    ours, theirs = folder, tmp_path / "undisturbed"
    assert records.read_json(ours / "training.json")["outcome"]["resumes"] == 2
    curves = [pd.read_csv(one / "history.csv").drop(columns="seconds") for one in (ours, theirs)]
    pd.testing.assert_frame_equal(*curves)
    adapters = [load_file(one / "adapter/adapter_model.safetensors") for one in (ours, theirs)]
    assert all(torch.equal(adapters[0][name], adapters[1][name]) for name in adapters[1])
    assert not (ours / "checkpoints").exists()


def followers_of(worker: psutil.Process) -> list[psutil.Process]:
    """The further processes of a training, by its first one."""
    return [process for process in worker.children() if "run.train.follow" in process.cmdline()]


def newest_step(folder) -> int:
    """The last step with a whole checkpoint; 0 before there is one."""
    sealed = (folder / "checkpoints").glob("checkpoint-*/manifest.json")
    return max((int(path.parent.name.split("-")[1]) for path in sealed), default=0)


TEAM = """
import json, subprocess, sys, time
from frontier.jobs import team
class Fake(team.Team):
    def _start(self, job, index):
        command = [sys.executable, "-c", job["other"], str(self._file(index, "json"))]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open(self._file(index, "log"), "wb"))
Fake({"other": sys.argv[1]}, 3, lambda outcome: print(json.dumps(outcome), flush=True))
time.sleep(60)
"""
TELL = "import json, sys; open(sys.argv[1], 'w').write(json.dumps({told})) if '-1.' in sys.argv[1] else {other}"


@pytest.mark.parametrize(
    ("other", "status", "told"),
    [
        (
            TELL.format(told={"outcome": {"status": "oom"}}, other="sys.exit('connection closed')"),
            0,
            '{"status": "oom"}',
        ),
        (
            TELL.format(told={"error": "no such thing"}, other="sys.exit('connection closed')"),
            2,
            "error: no such thing",
        ),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, "process 2 of 3 was ended by SIGKILL"),
        ("raise ValueError('boom')", 1, "process 2 of 3: ValueError: boom"),
    ],
    ids="oom error killed bug".split(),
)
def test_the_first_process_ends_as_another_did_whatever_it_waits_for(other, status, told):
    done = subprocess.run(
        [sys.executable, "-c", TEAM, other], env=ENVIRONMENT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == status, done.stderr
    assert (done.stdout + done.stderr).splitlines()[-1 if status in (-9, 1) else 0] == told


needs_two_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")


def on_gpus(processes: int, material, folder, run: str, **changes) -> dict:  # noqa: F811
    """The outcome of a training of 12 steps by so many GPUs, in processes of its own."""
    folder.mkdir()
    options = {"device": "cuda", "steps": 12, "batch_size": 8, "fused_kernels": False, "cuda_graphs": False}
    return supervised(job_of(material, folder, run, processes=processes, **options, **changes), folder)


@pytest.mark.gpu
@needs_two_gpus
@pytest.mark.parametrize(
    ("run", "dtype"), [("nf4-r4-s0", "float32"), ("nf4-r4-s0", "auto"), ("bf16-r4-s0", "auto"), ("fp16-r4-s0", "auto")]
)
def test_two_gpus_train_what_one_does(material, tmp_path, run, dtype):  # noqa: F811
    """With nccl between: losses, gradient norms and adapters."""
    found = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        outcome = on_gpus(processes, material, folder, run, compute_dtype=dtype)
        assert outcome["status"] == "ok"
        adapter = load_file(folder / "adapter/adapter_model.safetensors")
        found.append((outcome, pd.read_csv(folder / "history.csv"), adapter))
    (one, expected, reference), (two, curve, adapter) = found
    assert two["levers"]["sharding"] == "FSDP2, 2 processes, nccl"
    assert two["train_tokens"] == one["train_tokens"]
    assert two["peak_memory_gib"] == max(each["peak_allocated_gib"] for each in two["processes"])
    exact = dtype == "float32"
    assert (curve["loss"] - expected["loss"]).abs().max() < (1e-3 if exact else 5e-2)
    assert (curve["grad_norm"] / expected["grad_norm"] - 1).abs()[:3].max() < (1e-3 if exact else 5e-2)
    if exact:
        assert distance(adapter, reference) < 2e-2


@pytest.mark.gpu
@needs_two_gpus
def test_a_second_gpu_without_room_is_a_row(material, tmp_path):  # noqa: F811
    with full(1):
        outcome = on_gpus(2, material, tmp_path / "run", "nf4-r4-s0")
    assert (outcome["status"], outcome["phase"]) == ("oom", "load")
    assert outcome["reason"].count("the weights alone need") == 1
