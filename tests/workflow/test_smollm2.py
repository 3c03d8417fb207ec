"""One real training of a real model on real text, from a package index, in a folder of its own."""

import json
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from frontier.study import embedded


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
    # Two threads beside the other half of the tests would wait for each other most of the time.
    config |= {"steps": 4, "warmup_steps": 0, "learning_rate": 1e-3, "cpu_threads": 1}
    config["data"] |= {"train_examples": 16, "validation_examples": 6}
    (folder / "config").mkdir()
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--directory", str(folder), "--cores", "1"]
    targets = ["results/runs/nf4-r24-s3/evaluation.json", "results/baselines/nf4/evaluation.json"]
    done = subprocess.run([*command, *targets], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_run_off_the_grid_learns(folder):
    tuned, base = (
        json.loads((folder / "results" / name / "evaluation.json").read_text("utf-8"))["outcome"]
        for name in ("runs/nf4-r24-s3", "baselines/nf4")
    )
    assert 2 < base["perplexity"] < 12
    assert tuned["perplexity"] < 0.9 * base["perplexity"]
    history = pd.read_csv(folder / "results/runs/nf4-r24-s3/history.csv")
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


def test_a_plan_knows_the_shape_that_is_fetched(folder):
    from frontier.model import cache

    record = json.loads((folder / "resources/model.json").read_text("utf-8"))
    assert record["source"] == embedded.EMBEDDED_MODEL
    config = json.loads((cache.CACHE / record["folder"] / "config.json").read_text("utf-8"))
    assert {key: config[key] for key in embedded.EMBEDDED_CONFIG} == embedded.EMBEDDED_CONFIG


def test_base_model_still_knows_a_capital(folder):
    """Dequantised, saved and loaded again, it generates as it should."""
    from frontier.model import cache
    from frontier.model.tokenizer import load_tokenizer
    from transformers import AutoModelForCausalLM

    record = json.loads((folder / "resources/model.json").read_text("utf-8"))
    tokenizer = load_tokenizer(record)
    model = AutoModelForCausalLM.from_pretrained(cache.CACHE / record["folder"])
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    answer = model.generate(**prompt, max_new_tokens=4, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0])
