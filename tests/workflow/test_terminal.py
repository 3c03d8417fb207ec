"""What a user reads on the terminal: little while jobs run, and what Snakemake prints wherever nothing runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import snakemake
from conftest import ROOT, Study
from interruptions import started, wait_for

PLUGIN = "snakemake_logger_plugin_frontier"
RUNS = [f"{p}-r{r}-s0" for p in ("fp16", "nf4") for r in (2, 4, 8)]


@pytest.fixture
def study(finished_study, tmp_path) -> Study:
    folder = tmp_path / "study"
    shutil.copytree(finished_study.folder, folder, symlinks=True)
    return Study(folder)


@pytest.fixture(scope="session")
def without_plugin(tmp_path_factory) -> dict[str, str]:
    """An environment in which Python finds all that is installed but the plugin."""
    found = tmp_path_factory.mktemp("packages")
    installed = Path(snakemake.__file__).parents[1]
    for path in installed.iterdir():
        if not path.name.startswith(PLUGIN):
            (found / path.name).symlink_to(path)
    return os.environ | {"PYTHONPATH": str(found)}


def louder(study: Study, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-S", "-m", "snakemake", *arguments]
    return subprocess.run(command, cwd=study.folder, env=environment, capture_output=True, text=True, timeout=300)


def test_a_study_is_told_in_a_line_or_two_a_job(finished_study):
    """Of as many runs as the embedded study has, from nothing to its report."""
    lines = finished_study.printed.splitlines()
    assert "rule train_adapter" not in finished_study.printed
    assert "resources:" not in finished_study.printed
    assert "slurm" not in finished_study.printed.lower()
    assert any(re.match(r"\d+ jobs, 6 of them runs to train", line) for line in lines)
    begun = [line for line in lines if re.match(r"run \d of 6: ", line)]
    assert [line[: len("run 1 of 6: ")] for line in begun] == [f"run {number} of 6: " for number in range(1, 7)]
    assert sorted(line.split()[4].rstrip(",") for line in begun) == sorted(RUNS)
    assert all("of training left" in line for line in begun[1:-1])
    for run in RUNS:
        assert [line for line in lines if re.match(rf"{run}  .*loss .*peak .* GiB \(", line)]
        assert [line for line in lines if re.match(rf"evaluate_adapter {run}  perplexity \d", line)]
        assert [line for line in lines if re.match(rf"\s*{run} +ok ", line)], "no table"
    assert re.match(r"\d+ of \d+ jobs done in .*; all of it: \.snakemake/log/", lines[-1])
    assert len(lines) <= 60


def test_the_log_has_what_the_terminal_was_spared(finished_study):
    log = finished_study.folder / re.search(r"all of it: (\S+)", finished_study.printed)[1]
    assert "rule train_adapter:" in log.read_text("utf-8")


def test_what_runs_no_job_prints_what_it_prints_without_the_plugin(study, without_plugin):
    (study.folder / "results/summary.csv").unlink()
    own = ("Date:", "Workflow ID:", "Command:", "Python version:", "Using workflow specific profile")
    for words in (["-n", "results/summary.csv"], ["--list"], ["all", "--dag"], ["-n", "nothing/there.csv"]):
        ours, theirs = study.snakemake(*words), louder(study, without_plugin, *words)
        assert ours.returncode == theirs.returncode
        for mine, plain in ((ours.stdout, theirs.stdout), (ours.stderr, theirs.stderr)):
            kept = [
                [
                    line
                    for line in text.splitlines()
                    if not line.strip().startswith(own) and "overwritten" not in line and not line.startswith("[")
                ]
                for text in (mine, plain)
            ]
            assert kept[0] == kept[1], words


def test_the_same_command_runs_without_the_plugin_only_louder(study, without_plugin):
    (study.folder / "results/summary.csv").unlink()
    done = louder(study, without_plugin, "--cores", "1", "results/summary.csv")
    assert done.returncode == 0, done.stderr
    assert "rule summarize_runs:" in done.stderr
    assert (study.folder / "results/summary.csv").exists()


def test_verbose_and_quiet_stay(study):
    summary = study.folder / "results/summary.csv"
    summary.unlink()
    assert "rule summarize_runs:" in study.run("--verbose", "results/summary.csv").stderr
    summary.unlink()
    said = study.run("--quiet", "all", "--", "results/summary.csv").stderr
    assert "summarize_runs" not in said


def test_a_dry_run_names_what_would_be_overwritten(study):
    asked = study.snakemake("-n", "-R", "results/runs/nf4-r2-s0/evaluation.json")
    (line,) = [line for line in asked.stdout.splitlines() if line.startswith("Would be overwritten: ")]
    assert "results/runs/nf4-r2-s0/{evaluation.json,nll.parquet}" in line
    assert "results/{findings.json,findings.md,report.html,summary.csv}" in line
    assert "training.json" not in line
    assert "nf4-r4-s0" not in line
    (study.folder / "results/summary.csv").unlink()
    fresh = study.snakemake("-n", "results/summary.csv")
    assert "Nothing that is there would be overwritten." in fresh.stdout.splitlines()


def test_what_goes_wrong_has_its_line(study):
    missing = study.snakemake("--cores", "1", "nothing/there.csv")
    assert missing.returncode != 0
    assert "No rule to produce nothing/there.csv" in missing.stderr
    study.configure(ranks=[2, 4, 8, 16])
    text = 'job["request"], job["input"]\n    folder = _folder(job)'
    study.edit("workflow/scripts/frontier/run/train.py", text, f'{text}\n    raise RuntimeError("broken")')
    target = "results/runs/nf4-r16-s0/training.json"
    snakemake = started(study, target)
    log = study.folder / target.replace(".json", ".log")
    wait_for(snakemake, study.folder / ".snakemake/locks/0.output.lock", "nf4-r16-s0")
    locked = study.snakemake("--cores", "1", target)
    assert "unlock" in locked.stderr
    printed, _ = snakemake.communicate(timeout=120)
    assert snakemake.returncode != 0
    assert [line for line in printed.splitlines() if line.startswith("error:") and "RuntimeError: broken" in line]
    assert "nf4-r16-s0  failed after " in printed
    assert "1 failed" in printed.splitlines()[-1]
    assert "Traceback" not in printed
    assert "Traceback" in log.read_text("utf-8")


def test_every_target_has_a_sentence(finished_study):
    listed = finished_study.snakemake("--list").stdout.splitlines()
    rule = r"^(?:use )?(?:rule|checkpoint) (?:\w+ as )?(\w+)"
    rules = {
        name
        for path in (ROOT / "workflow/rules").glob("*.smk")
        for name in re.findall(rule, path.read_text("utf-8"), flags=re.MULTILINE)
    }
    assert {line.split(" ")[0] for line in listed} == rules | {"all"}
    assert all(re.fullmatch(r"\w+ \([A-Z].*\.\)", line) for line in listed)
