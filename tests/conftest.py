"""Studies on a tiny model, each in a copy of the workflow of its own, run through Snakemake as a user would."""

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny
import yaml
from frontier.model import cache

ROOT = Path(__file__).parent.parent
# Where Python finds the package, this file and the helpers, in a process that a test starts.
PYTHONPATH = os.pathsep.join(str(ROOT / part) for part in ("workflow/scripts", "tests", "tests/helpers"))
RUN = "fp32-r4-s0"
RESULTS = f"results/runs/{RUN}"
SECRET = "hf_not-for-any-log-or-record"
COPIED = ("Snakefile", "workflow", "config", "profiles", "envs", "pyproject.toml")


# Folders of tests that drive a whole sweep, by how soon they should begin.
LONGEST_FIRST = {"workflow": 0, "jobs": 1, "run": 2}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Several processes share the tests: those that look at one study in one, so that it is made once.

    Files of few tests that take minutes come first, so that no process is left alone with one of them at the end.
    """
    items.sort(key=lambda item: LONGEST_FIRST.get(item.path.parent.name, len(LONGEST_FIRST)))
    for item in items:
        studies = [name for name in ("finished_study", "trained") if name in item.fixturenames]
        item.add_marker(pytest.mark.xdist_group(studies[0] if studies else item.path.name))


@pytest.fixture(autouse=True)
def _own_signals():
    """A job that a test runs in this process answers signals its own way, which no other test is to have."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, answer in before.items():
        signal.signal(number, answer)


@dataclass
class Study:
    """A copy of the project in a folder of its own, on the tiny model and six runs that take a second each."""

    folder: Path
    # What the call that made a finished study printed.
    printed: str = ""

    @property
    def config(self) -> dict:
        return yaml.safe_load((self.folder / "config/config.yaml").read_text("utf-8"))

    def configure(self, **changes) -> None:
        """Set top-level keys of the configuration; a dict is merged into the section that is there."""
        config = self.config
        for key, value in changes.items():
            merge = isinstance(value, dict) and isinstance(config.get(key), dict)
            config[key] = config[key] | value if merge else value
        (self.folder / "config/config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in a file of the copy; a text that is not there fails the test."""
        file = self.folder / path
        text = file.read_text("utf-8")
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new, 1), encoding="utf-8")

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "snakemake", *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=600)

    def run(self, *targets: str) -> subprocess.CompletedProcess:
        """Run targets (default: all) and see them succeed."""
        done = self.snakemake("--cores", "1", *targets)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def plan(self, *arguments: str) -> dict[str, list[str]]:
        """What `snakemake -n` would run: for each rule but `all`, its wildcards' values, sorted."""
        done = self.snakemake("-n", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        planned: dict[str, list[str]] = {}
        for block in re.split(r"^\[.*\]$", done.stdout + done.stderr, flags=re.MULTILINE):
            rule = re.search(r"^(?:local)?rule (\w+):", block, flags=re.MULTILINE)
            wildcards = re.search(r"wildcards: \w+=(\S+)", block)
            if rule and rule[1] != "all":
                planned.setdefault(rule[1], []).append(wildcards[1] if wildcards else "")
        return {rule: sorted(values) for rule, values in planned.items()}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def new_study(tmp_path_factory, tiny_model):
    """A function that makes a fresh Study, with changes to its configuration."""

    def make(**changes) -> Study:
        folder = tmp_path_factory.mktemp("study")
        for name in COPIED:
            source = ROOT / name
            ignore = shutil.ignore_patterns("__pycache__")
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=ignore)
            else:
                shutil.copy(source, folder / name)
        tiny.write_sums(folder / "train.jsonl", count=40, seed=0)
        tiny.write_sums(folder / "validation.jsonl", count=12, seed=9)
        study = Study(folder)
        study.configure(
            model=None, data=None, ranks=[2, 4, 8], steps=4, batch_size=4, learning_rate=1e-2, cpu_threads=1
        )
        study.configure(
            model={"source": "path", "path": str(tiny_model)},
            data={
                "source": "jsonl",
                "train_file": "train.jsonl",
                "validation_file": "validation.jsonl",
                "template": "Question: {question}\nAnswer: ",
                "max_length": 128,
            },
        )
        study.configure(**changes)
        return study

    return make


@pytest.fixture(scope="session")
def finished_study(new_study) -> Study:
    """A study whose every target is made; tests look at it and leave it as it is."""
    study = new_study()
    done = study.run()
    study.printed = done.stdout + done.stderr
    return study


@pytest.fixture(scope="session")
def trained(new_study) -> Study:
    """A study of one run that takes a few seconds, finished undisturbed, with a secret in the environment."""
    study = new_study(
        precisions=["fp32"], ranks=[4], steps=40, batch_size=8, lora={"dropout": 0.1}, checkpoint_minutes=None
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", SECRET)
        study.run(f"{RESULTS}/evaluation.json", "results/baselines/fp32/evaluation.json")
    return study


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache of models and bases that is this test's alone."""
    monkeypatch.setattr(cache, "CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tiny_model, tmp_path) -> Path:
    """A copy of the tiny model to spoil."""
    return shutil.copytree(tiny_model, tmp_path / "model")
