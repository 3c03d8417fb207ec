"""The studies that are ready to run: their data are what their scripts write, and they name what may change."""

import hashlib
import json
import shutil
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT
from frontier.model.data.examples import read_examples
from frontier.study import requests, schema


def test_the_chats_of_the_ready_study_are_those_that_its_script_writes(tmp_path):
    folder = ROOT / "studies/smollm2-chats"
    shutil.copy(folder / "make_chats.py", tmp_path)
    subprocess.run([sys.executable, str(tmp_path / "make_chats.py")], check=True)
    assert (tmp_path / "chats.jsonl").read_bytes() == (folder / "chats.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("study", "split"), [("smollm2-gsm8k", "order"), ("mistral-7b-6gib", None), ("smollm2-chats", "shuffled")]
)
def test_ready_studies_name_their_template_and_are_split_as_they_were(study, split):
    config = yaml.safe_load((ROOT / f"studies/{study}/config/config.yaml").read_text("utf-8"))
    assert "template" in config["data"]
    assert schema.resolve(config)["data"].get("split") == split


def test_the_embedded_study_has_the_examples_that_its_figures_are_of():
    """docs/reference/embedded was made with these, before rows could be drawn or repeat a question."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
    splits, counts = read_examples(schema.resolve(config)["data"])
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 40, "validation": 44}
    digests = {name: hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16] for name, rows in splits.items()}
    assert digests == {"train": "141665a628dd3de5", "validation": "8dcb06c6b5e1f71b"}
    assert counts["near_repeats"] == 0


def test_either_name_of_files_asks_for_the_same_examples_and_problems():
    asked = []
    for source, further in (("file", {}), ("jsonl", {"split_seed": 0, "format": "auto"})):
        data = {**further, "source": source, "train_file": "a.csv", "test_file": "b.csv"}
        study = schema.resolve({"model": {"source": "path", "path": "."}, "data": data, "steps": 1})
        asked.append([requests.data_request(study), requests.test_request(study), requests.tokens_request(study)])
    # By their text, as Snakemake compares them.
    assert str(asked[0]) == str(asked[1])
