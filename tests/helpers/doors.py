"""The jobs at the door done on a model's folder, and ways to spoil it."""

import json
from pathlib import Path

import pytest
import torch
from frontier import records
from frontier.errors import UserError
from frontier.model import prepare
from frontier.model.data.json_lines import write_lines
from frontier.study import embedded
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

CPU = torch.device("cpu")
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
UP = "model.layers.0.mlp.up_proj.weight"


def fetch(folder: Path) -> dict:
    """Do the job fetch_model on a folder and return the record that it writes."""
    output = folder.parent / "model.json"
    section = {"source": "path", "path": str(folder)}
    prepare.fetch_model(
        {"request": {"model": section, "tokenizer_model": embedded.EMBEDDED_MODEL}, "output": {"model": str(output)}}
    )
    return records.read_json(output)


def refusal(folder: Path) -> str:
    """Return the one line in which the job fetch_model refuses a folder, without what every such line has."""
    with pytest.raises(UserError) as refused:
        fetch(folder)
    line = str(refused.value)
    assert "\n" not in line
    assert line.startswith("model: ")
    return line.removeprefix("model: ").removeprefix(str(folder)).removeprefix(": ").strip()


def edit_config(folder: Path, **changes) -> Path:
    """Set keys of config.json; None takes one away."""
    config = json.loads((folder / "config.json").read_text()) | changes
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))
    return folder


def edit_weights(folder: Path, change) -> Path:
    """Have `change(weights)` change the tensors of the folder's one file, a dict."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def in_shards(folder: Path) -> Path:
    """Write the folder's weights as shards and an index in place of the one file."""
    network = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    network.save_pretrained(folder, max_shard_size="50KB")
    return folder


def edit_index(folder: Path, change) -> Path:
    """Have `change(weight_map)` change what the folder's index names."""
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))
    return folder


def tokens(folder: Path, answer: str) -> dict:
    """Do the job tokenize_data over one example a split, and return the record that it writes."""
    model, place = fetch(folder), folder.parent
    records.write_json(place / "model.json", model)
    records.write_json(place / "examples.json", {})
    for name in ("train", "validation"):
        write_lines([{"question": "?", "answer": answer}], str(place / f"{name}.jsonl"))
    files = {name: str(place / f"{name}.jsonl") for name in ("train", "validation")}
    outputs = {name: str(place / f"{name}.parquet") for name in ("train", "validation")}
    job = {
        "request": {"template": "{question} ", "max_length": 512},
        "input": files | {"model": str(place / "model.json"), "examples": str(place / "examples.json")},
        "output": outputs | {"tokens": str(place / "tokens.json")},
    }
    prepare.tokenize_data(job)
    return records.read_json(place / "tokens.json")
