"""What is made of a plan: runs that are not started, and how near it came to those that were."""

import json
import sys

import pandas as pd
import pytest
import torch
from conftest import ROOT
from frontier import records
from frontier.jobs import hopeless
from frontier.machine import environment
from frontier.plan.table import plan_one
from frontier.results import findings, plan_errors, summary
from frontier.study import plan_requests, requests
from planned import rates, small_study


@pytest.mark.parametrize(
    ("changes", "status", "phase"),
    [
        ({}, None, None),
        ({"predicted_peak_gib": 6.8}, None, None),
        ({"predicted_peak_gib": 9.0}, "oom", "train"),
        ({"predicted_peak_gib": 14.0, "weights_gib": 13.5}, "oom", "load"),
        ({"predicted_hours": 13.0}, None, None),
        ({"predicted_hours": 31.0}, "over_time", "train"),
        ({"predicted_peak_gib": float("nan"), "predicted_hours": float("nan")}, None, None),
    ],
)
def test_only_what_is_far_beyond_the_budget_is_hopeless(changes, status, phase):
    row = {"predicted_peak_gib": 4.6, "allocated_gib": 4.0, "weights_gib": 3.6, "predicted_hours": 2.0} | changes
    outcome = hopeless.outcome_of(row, {"memory_gib": 6, "hours": 12})
    if status is None:
        assert outcome is None
    else:
        assert (outcome["status"], outcome["phase"], outcome["basis"]) == (status, phase, "predicted")
        assert "not started" in outcome["reason"]
    assert hopeless.outcome_of(row, {"memory_gib": None, "hours": None}) is None


def test_a_hopeless_run_is_not_started_and_says_so(new_study):
    run = "results/runs/fp16-r2-s0/training.json"
    study = new_study(precisions=["fp16"], ranks=[2], plan={"card": "RTX 4050 Laptop"}, skip_hopeless=True)
    study.configure(budget={"memory_gib": 0.5})
    study.run(run)
    record = json.loads((study.folder / run).read_text("utf-8"))
    outcome = record["outcome"]
    assert (outcome["status"], outcome["basis"]) == ("oom", "predicted")
    assert "not started" in outcome["reason"]
    assert record["environment"] is None
    assert "train_seconds" not in outcome
    assert study.plan(run) == {}
    study.configure(skip_hopeless=False)
    assert "train_adapter" in study.plan(run)


@pytest.mark.parametrize("cuda_started", [False, True])
def test_a_planner_that_fails_gives_nothing_up(monkeypatch, capfd, cuda_started):
    """Forked or, where no fork could use the device, spawned: its end is not the run's, and the log has it."""
    forks = []
    monkeypatch.setattr(hopeless, "_fork", lambda *job, fork=hopeless._fork: forks.append(job) or fork(*job))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: cuda_started)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "workflow/scripts"))
    assert hopeless.predicted_outcome({"no": "plan"}, "fp16-r2-s0", {"memory_gib": 1, "hours": None}) is None
    assert "KeyError: 'study'" in capfd.readouterr().err
    assert bool(forks) is (sys.platform == "linux" and not cuda_started)


def test_the_key_makes_again_what_was_given_up_by_it_and_nothing_that_was_measured():
    budget = {"memory_gib": 6, "hours": None}

    def tracked(record, skip: bool, **changes):
        return requests.tracked_budget({"budget": budget | changes, "skip_hopeless": skip}, record, skips=True)

    def left(by: dict, **outcome) -> dict:
        return {"outcome": {"status": "oom"} | outcome, "tracked": by}

    on, off = tracked(None, skip=True), tracked(None, skip=False)
    assert off == budget != on
    given_up = left(on, basis="predicted")
    assert tracked(given_up, skip=True) == on
    assert tracked(given_up, skip=False) == off
    assert tracked(given_up, skip=True, memory_gib=7) not in (on, off)
    for by in (on, off):
        for skip in (True, False):
            assert tracked(left(by), skip) == tracked(left(by, status="ok"), skip) == by
            assert tracked(left(by), skip, memory_gib=7) not in (on, off)
            assert tracked(left(by, status="ok"), skip, memory_gib=7) == by


def test_a_run_is_foretold_for_its_own_device_by_what_was_measured_on_it(tmp_path, monkeypatch):
    """Whatever card is in the machine, and whatever an earlier calibration was of."""
    monkeypatch.chdir(tmp_path)
    cpu = {"name": environment.describe_environment(torch.device("cpu"), "")["device"]}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def foretold(calibrated: dict, card="auto") -> dict:
        study = small_study(device="cpu", cpu_threads=1, plan={"card": card})
        records.write_json("results/calibration.json", calibrated | {"rates": rates("H200")})
        job = {"request": plan_requests.plan_request(study), "run": "fp16-r8-s0", "output": {"row": "row.json"}}
        plan_one(job)
        return records.read_json("row.json")

    ours, other = foretold(cpu), foretold({"name": "NVIDIA H200"})
    assert ours["device"] == other["device"] == cpu["name"]
    assert ours["allocated_gib"] == other["allocated_gib"]
    assert ours["predicted_hours"] > 0
    assert other["predicted_hours"] is None
    named = [foretold(calibrated, card="T4")["predicted_hours"] for calibrated in (cpu, {"name": "Tesla T4"})]
    assert named[0] == named[1] > 0


def test_errors_compare_like_with_like():
    row = {"predicted_peak_gib": 4.7, "allocated_gib": 4.2, "predicted_seconds_per_step": 2.0}
    card = {"memory_metric": "cuda_allocated", "peak_held_gib": 4.7 / 1.05, "steps": 10, "train_seconds": 25.0}
    found = plan_errors.compared(row, card)
    assert found["predicted_peak_error"] == pytest.approx(0.05)
    assert found["predicted_seconds"] == 20.0
    assert found["predicted_seconds_error"] == pytest.approx(-0.2)
    host = {"memory_metric": "host_rss", "peak_host_gib": 4.7, "steps": None, "train_seconds": None}
    assert plan_errors.compared(row, host)["predicted_peak_error"] == pytest.approx(0.0)
    assert plan_errors.compared(row, host)["predicted_seconds"] is None
    older = {"predicted_peak_gib": 4.2, "overhead_gib": 0.5}
    assert plan_errors.compared(older, host)["predicted_peak_gib"] == pytest.approx(4.7)


def test_a_summary_holds_the_plan_against_what_was_measured_on_its_device():
    measured = {"run": ["nf4-r8-s0"], "device": ["NVIDIA H200"], "memory_metric": ["cuda_allocated"]}
    frame = pd.DataFrame(measured | {"peak_held_gib": [5.0], "steps": [10], "train_seconds": [20.0]})
    row = {"run": "nf4-r8-s0", "predicted_peak_gib": 5.1, "allocated_gib": 4.5, "predicted_seconds_per_step": 1.8}

    def joined(device: str | None) -> pd.DataFrame:
        return summary.join_plan(frame, pd.DataFrame([row | {"device": device}]))

    found = joined("H200").iloc[0]
    assert found["predicted_peak_error"] == pytest.approx(0.02)
    assert found["predicted_seconds_error"] == pytest.approx(-0.1)
    assert found["predicted_seconds"] == 18.0
    for other in ("RTX 4090", "NVIDIA H100", "card of one's own", None):
        assert "predicted_seconds" not in joined(other)


def test_no_finding_rests_on_a_prediction():
    table = pd.DataFrame({"run": ["a", "b"], "status": ["oom", "ok"], "basis": ["predicted", "measured"]})
    assert findings.measured(table)["run"].tolist() == ["b"]
