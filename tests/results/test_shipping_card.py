"""The card beside an adapter: its code and its metadata hold whatever names a base, a licence or a data set has."""

import ast
import re

import pandas as pd
import pytest
import yaml
from frontier import records
from frontier.results.shipping.card import write_card

ODD = ['tiny "base"', "it's", "back\\slash", "a: b", "-dash", "größe 模型", "#hash", "{brace}", "%s"]
SETTINGS = {"learning_rate": 1e-3, "batch_size": 4, "steps": 10}


def card(tmp_path, source: dict, precision: str = "fp16", licence: str = "mit", data: dict | None = None) -> str:
    """The card of a run that was made up, over a base of this source."""
    data = data or {"source": "file", "train_file": "rows.jsonl"}
    training = {
        "request": {"precision": precision, "rank": 8, "seed": 0, "training": SETTINGS, "lora": {"alpha": 16}},
        "outcome": {"status": "ok", "train_seconds": 2.0, "peak_memory_gib": 1.0, "memory_metric": "host_rss"},
        "environment": {"device": "card", "packages": {"peft": "0.21.2"}},
        "material": {"data": {"train": {"examples": 40}, "examples": {"source": data}}},
    }
    training["outcome"]["trainable_parameters"] = 1000
    made = {
        "training": training,
        "evaluation": {"outcome": {"status": "ok", "perplexity": 3.0, "examples": 2}},
        "model": {"source": source, "digest": "d" * 64},
    }
    paths = {name: str(tmp_path / f"{name}.json") for name in made}
    for name, record in made.items():
        records.write_json(paths[name], record)
    paths["losses"] = str(tmp_path / "nll.parquet")
    pd.DataFrame({"nll": [4.0, 5.0], "tokens": [4, 4]}).to_parquet(paths["losses"])
    request = {"run": f"{precision}-r8-s0", "license": licence}
    write_card({"input": paths, "output": {"card": str(tmp_path / "card.md")}, "request": request})
    return (tmp_path / "card.md").read_text("utf-8")


def loading(text: str) -> tuple[list[str], dict[str, list]]:
    """The lines that load an adapter, and what each `from_pretrained` is given: constants and keywords."""
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    calls = {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "from_pretrained":
            known = {one.arg: one.value.value for one in node.keywords if isinstance(one.value, ast.Constant)}
            calls[node.func.value.id] = [one.value for one in node.args if isinstance(one, ast.Constant)] + [known]
    return code.strip().splitlines(), calls


@pytest.mark.parametrize("name", ODD)
def test_a_folder_of_any_name_is_named_in_code_that_python_reads(tmp_path, name):
    lines, calls = loading(card(tmp_path, {"source": "path", "path": f"/models/{name}"}))
    assert len(lines) == 5
    assert calls["AutoModelForCausalLM"] == [f"path/to/{name}", {"dtype": "float16"}]
    assert calls["PeftModel"] == calls["AutoTokenizer"] == ["path/to/this/folder", {}]


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32", "nf4", "fp4", "int8"])
def test_five_lines_load_an_adapter_over_any_base(tmp_path, precision):
    source = {"source": "hub", "id": "maker/model", "revision": "0123abc"}
    lines, calls = loading(card(tmp_path, source, precision))
    assert len(lines) == 5
    name, known = calls["AutoModelForCausalLM"]
    assert (name, known["revision"]) == ("maker/model", "0123abc")
    assert ("BitsAndBytesConfig" in lines[1]) == (precision in ("nf4", "fp4", "int8"))


@pytest.mark.parametrize("name", ODD)
def test_metadata_of_any_name_is_yaml(tmp_path, name):
    data = {"source": "hub", "id": name}
    text = card(tmp_path, {"source": "hub", "id": "maker/model"}, licence=name, data=data)
    head = yaml.safe_load(text.split("---\n")[1])
    assert (head["license"], head["datasets"], head["base_model"]) == (name, [name], "maker/model")
