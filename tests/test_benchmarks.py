"""The benchmarks run, as far as they can without a card: what they ask of the project is there."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT
from frontier.records import read_json
from planned import small_study

PATH = os.pathsep.join(str(ROOT / part) for part in ("benchmarks", "workflow/scripts"))
WITH_OPTIONS = [
    path.name for path in sorted((ROOT / "benchmarks").glob("*.py")) if "ArgumentParser" in path.read_text("utf-8")
]


def run(*words: str) -> str:
    """What Python prints for these words, which are its own, in an environment of its own."""
    environment = os.environ | {"PYTHONPATH": PATH}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_a_benchmark_says_what_it_takes(name):
    assert f"usage: {name}" in run(str(ROOT / "benchmarks" / name), "--help")


def test_a_trainer_is_measured_on_a_few_rows(tmp_path, tiny_model):
    rows = [{"input_ids": [5] * 12, "labels": [-100] * 4 + [5] * 8}] * 8
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    words = ["measure", str(tiny_model), str(tmp_path / "rows.json"), "bf16", "ours"]
    options = ["--device=cpu", "--threads=1", "--batch=2", "--steps=3", "--warmup=1", "--optimizer=adamw_torch"]
    output = run(str(ROOT / "benchmarks/compare_trainers.py"), *words, *options)
    (line,) = [line for line in output.splitlines() if line.startswith("MEASURED ")]
    found = json.loads(line.removeprefix("MEASURED "))
    assert found["status"] == "ok"
    assert len(found["step_seconds"]) == 3
    assert found["tokens_per_second"] > 0


def test_ours_is_measured_without_a_lever(tmp_path, tiny_model):
    """In turn with ours as it is, each a line that is kept and a row of the table."""
    rows = [{"input_ids": [5] * 12, "labels": [-100] * 4 + [5] * 8}] * 8
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    words = ["levers", str(tiny_model), str(tmp_path / "rows.json"), "bf16", "--only=gradient_checkpointing: false"]
    options = ["--rounds=1", f"--lines={tmp_path}/lines", "--device=cpu", "--threads=1", "--batch=2"]
    output = run(str(ROOT / "benchmarks/compare_trainers.py"), *words, *options, "--steps=2", "--warmup=1")
    ours, without = map(json.loads, (tmp_path / "lines").read_text("utf-8").splitlines())
    assert (ours["status"], without["status"]) == ("ok", "ok")
    assert (ours["checkpointing"], without["checkpointing"]) == (True, False)
    assert f"| {without['name']} | {without['tokens_per_second']} |" in output


def test_a_sweeps_seconds_are_all_accounted_for(finished_study):
    """A run's row has its parts add up to its job's wall-clock, and the sweep's has the bases' preparation in it."""
    lines = run(str(ROOT / "benchmarks/time_sweep.py"), str(finished_study.folder)).splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    rows = {row[0]: [float(cell) for cell in row[2:]] for row in table[2:]}
    training = read_json(finished_study.folder / "results/runs/nf4-r4-s0/training.json")["outcome"]
    *parts, job = rows["nf4-r4-s0"]
    assert parts[0] == pytest.approx(training["train_seconds"], abs=0.2)
    assert sum(parts) == pytest.approx(job, abs=0.05 * (len(parts) + 1))
    assert all(part >= 0 for part in parts)
    assert rows["all"][-1] == pytest.approx(sum(rows[name][-1] for name in rows if name != "all"), abs=0.5)
    outside, whole = re.search(r"outside steps: ([\d.]+) of ([\d.]+) s", lines[-1]).groups()
    assert rows["all"][-1] < float(whole)
    assert float(outside) == pytest.approx(float(whole) - rows["all"][0], abs=0.2)


def test_a_run_without_phases_has_a_row_of_a_sweep():
    """One that the kernel killed, or that was not started."""
    line = "import time_sweep; print(time_sweep.row({'status': 'oom'}, 3.0))"
    row = json.loads(run("-c", line).replace("'", '"'))
    assert (row["steps"], row["supervisor"], row["job"]) == (0, 3.0, 3.0)


def test_runs_have_learned_what_transformers_own_loop_learns(finished_study, tmp_path):
    """To rounding where both compute in float32: packing, the loss, fused LoRA and evaluation change nothing."""
    exact, coarse = ["fp16-r4-s0", "nf4-r4-s0"], "nf4-r8-s0"
    for part in ("resources/tokens", *(f"results/runs/{name}" for name in (*exact, coarse))):
        shutil.copytree(finished_study.folder / part, tmp_path / part)
    shutil.copy(finished_study.folder / "resources/model.json", tmp_path / "resources")
    path = tmp_path / f"results/runs/{coarse}/training.json"
    record = read_json(path)
    assert record["request"]["compute_dtype"] == "auto"
    record["request"]["compute_dtype"] = "bfloat16"
    path.write_text(json.dumps(record), encoding="utf-8")
    lines = run(str(ROOT / "benchmarks/compare_losses.py"), str(tmp_path), *exact, coarse).splitlines()
    for name, found in zip([*exact, coarse], map(json.loads, lines), strict=True):
        precision, *_ = name.split("-")
        untrained = read_json(finished_study.folder / f"results/baselines/{precision}/evaluation.json")["outcome"]
        assert found["run"] == name
        assert found["recorded"] < untrained["eval_loss"] - 0.1
        # Whatever it was trained in, it is evaluated in float32.
        assert found["same_adapter"] == pytest.approx(found["recorded"], abs=1e-5)
        assert found["retrained"] == pytest.approx(found["recorded"], abs=1e-4 if name in exact else 1e-2)


def test_the_plans_checks_predict(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(small_study(device="cpu")), encoding="utf-8")
    code = (
        "import json, sys; from pathlib import Path; import check_plan, check_plan_cpu; "
        "from frontier.plan import roofline; from frontier.study import cards; "
        "rates = roofline.from_datasheet(cards.find('H200')); "
        "on_card = check_plan.predict(check_plan.GROUPS[0][0], rates, (9, 0)); "
        "on_cpu = check_plan_cpu.predict(Path(sys.argv[1]), 'fp16-r8-s0'); print(json.dumps([on_card, on_cpu]))"
    )
    on_card, on_cpu = json.loads(run("-c", code, str(tmp_path)))
    assert 4 < on_card["allocated_gib"] < on_card["reserved_gib"] < 7
    assert 0 < on_card["graphs_gib"] < 0.1
    assert on_cpu["device"]
    assert 0 < on_cpu["allocated_gib"] < 1


def test_the_options_check_has_its_table_in_the_docs():
    """As printed of the lines that it left; the combinations are each limited by their memory."""
    lines = ROOT / "docs/reference/planner/check_options-h200.jsonl"
    table = run(str(ROOT / "benchmarks/check_options.py"), "--table", str(lines)).strip()
    assert table in (ROOT / "docs/planner.md").read_text("utf-8")
    assert table.count("| ran | oom |") == 8
    assert table.count("| oom |\n") + table.endswith("| oom |") == 10
