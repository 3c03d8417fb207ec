"""One training over several processes: the result of one process, an honest record, and no process left behind."""

import copy
import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest
import shards
import torch
from conftest import ROOT
from frontier import config, models, packing, records, sharding
from frontier.data import IGNORED
from jobs import OUTPUTS, Job, inputs_of, job_of, start
from safetensors.torch import load_file
from test_reliability import worker_of
from test_training import cache, material  # noqa: F401

RUN = "nf4-r4-s0"
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("workflow/scripts", "tests"))}


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
    told = {"jobs": jobs, "cache": str(models.CACHE), "output": str(folder / "gradients.pt")}
    started = []
    for rank in range(processes):
        command = [sys.executable, str(ROOT / "tests/shards.py")]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, env=ENVIRONMENT, text=True))
        started[-1].stdin.write(json.dumps(told | {"share": [rank, processes]}))
        started[-1].stdin.close()
    assert [process.wait(timeout=120) for process in started] == [0] * processes
    return torch.load(told["output"])


def job_for(material, folder, run: str, **changes) -> dict:  # noqa: F811
    """A training of two steps, the second of which has fewer examples than a whole one, unclipped."""
    study, paths = material
    study = copy.deepcopy(study) | {"steps": None, "epochs": 1, "batch_size": 24, "max_grad_norm": 0.0} | changes
    precision = config.parse_run(run)[0]
    return {
        "request": config.training_request(study, run),
        "input": {"base": paths[precision], "tokens": paths["train"]},
        "folder": str(folder),
        "rendezvous": str(folder / f"rendezvous-{run}-{len(changes)}"),
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
    made.run(f"results/runs/{RUN}/evaluation.json", "results/baselines/nf4/evaluation.json")
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
    for key in ("steps", "train_tokens", "trainable_parameters"):
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
    base = models.weights_gib(records.read_json(study.folder / "resources/bases/nf4.json") | {"folder": bases(study)})
    assert all(0.3 * base < one["weights_gib"] < 0.6 * base for one in each)
    evaluation = records.read_json(study.folder / f"results/runs/{RUN}/evaluation.json")["outcome"]
    baseline = records.read_json(study.folder / "results/baselines/nf4/evaluation.json")["outcome"]
    assert evaluation["status"] == "ok"
    assert evaluation["perplexity"] < baseline["perplexity"]


def bases(study) -> str:
    (folder,) = (study.folder / "resources/cache/bases").glob("*-nf4")
    return str(folder)


def test_the_key_is_part_of_what_several_processes_made_alone(study):
    """A study from before there was the key, or with its default, plans as ever; another number trains again."""
    shipped = study.config
    assert study.plan(f"results/runs/{RUN}/evaluation.json") == {}
    study.configure(processes=3)
    assert study.plan(f"results/runs/{RUN}/evaluation.json") == {"train_adapter": [RUN], "evaluate_adapter": [RUN]}
    study.configure(**shipped)
    without = {key: value for key, value in shipped.items() if key != "processes"}
    one, default = config.resolve(without | {"processes": 1}), config.resolve(without)
    code = dict.fromkeys("fetch_model fetch_data tokenize_data prepare_base train_adapter".split(), "")
    identities = {config.identities(each, code)["training"](RUN) for each in (one, default)}
    two = config.identities(config.resolve(shipped), code)["training"](RUN)
    assert len(identities) == 1
    assert two not in identities
    assert "processes" not in config.training_request(one, RUN)
    assert "processes" not in config.plan_request(one)["study"]


REFUSED = [
    ({"processes": 0}, "config: processes: got 0, takes a whole number from 1 to 64"),
    ({"processes": 3}, "config: processes: got 3, takes a whole number that divides batch_size, 4"),
    ({"processes": 2, "micro_batch_size": 4}, "config: micro_batch_size: got 4 with processes 2, takes a whole number"),
    ({"processes": 2, "precisions": ["int8"]}, "config: precisions: got int8 with processes 2, takes it with"),
    (
        {"processes": 2, "optimizer": "adamw_8bit"},
        "config: optimizer: got adamw_8bit with processes 2, takes adamw_torch",
    ),
    (
        {"processes": 2, "device": "cuda:1"},
        "config: device: got cuda:1 with processes 2, takes auto, cpu or cuda there",
    ),
]
