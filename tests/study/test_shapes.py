"""The shapes of config/shapes.yaml: each is the model that it is named after, and a study can name it."""

import pytest
import torch
from frontier.errors import UserError
from frontier.model.config_file import config_of
from frontier.plan import model_config
from frontier.study import schema, shapes
from transformers import AutoModelForCausalLM

STUDY = {"data": {"source": "hub", "id": "owner/name"}, "steps": 1}


@pytest.mark.parametrize("name", shapes.table())
def test_a_shape_has_the_parameters_that_its_makers_published(name):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(shapes.find(name), name))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == pytest.approx(shapes.table()[name]["parameters"], rel=0.01)


def test_the_table_is_of_well_known_sizes_and_each_shape_has_its_source():
    known = shapes.table()
    sizes = [one["parameters"] / 1e9 for one in known.values()]
    assert len(known) >= 25
    assert min(sizes) < 0.51
    assert 69 < max(sizes) < 72
    assert all("2024-01" <= str(one["released"]) <= "2026-12" for one in known.values())
    assert all(one["source"] and one["ids"] for one in known.values())
    ids = [one.lower() for shape in known.values() for one in shape["ids"]]
    assert len(ids) == len(set(ids))


def test_a_study_names_a_shape_by_its_name_or_an_id_of_the_hub():
    found = [
        schema.resolve(STUDY | {"model": {"source": "shape", "name": name}})["model"]
        for name in ("Qwen2.5-7B", "qwen2.5-7b", "Qwen/Qwen2.5-7B-Instruct")
    ]
    assert found[0] == found[1] == found[2] == {"source": "architecture", "config": shapes.find("Qwen2.5-7B")}


@pytest.mark.parametrize(("name", "hint"), [("Qwen2.5-70B", "did you mean Qwen2.5-"), ("zzz", "takes one of ")])
def test_a_shape_that_is_not_there_is_one_line(name, hint):
    with pytest.raises(UserError, match=rf"^config: model\.name: got {name}; {hint}"):
        schema.resolve(STUDY | {"model": {"source": "shape", "name": name}})


def test_a_plan_without_a_hub_knows_the_shapes_of_the_table(monkeypatch):
    """By the id of the hub, and of a hub that is there its config.json alone is asked for."""
    asked = []

    def refuse(name, file, revision=None):
        asked.append(file)
        raise OSError("no connection")

    monkeypatch.setattr(model_config, "hf_hub_download", refuse)
    config = model_config.find({"source": "hub", "id": "meta-llama/Llama-3.1-8B-Instruct", "revision": None})
    assert (config.hidden_size, config.num_hidden_layers) == (4096, 32)
    assert asked == ["config.json"]
    with pytest.raises(UserError, match="give a shape by name"):
        model_config.find({"source": "hub", "id": "nobody/nothing", "revision": None})


def test_of_a_hub_that_is_there_its_config_alone_is_fetched(tmp_path, monkeypatch):
    def give(name, file, revision=None):
        assert file == "config.json"
        (tmp_path / file).write_text('{"model_type": "llama", "num_hidden_layers": 7}')
        return str(tmp_path / file)

    monkeypatch.setattr(model_config, "hf_hub_download", give)
    assert model_config.find({"source": "hub", "id": "owner/name", "revision": None}).num_hidden_layers == 7
