"""An adapter's files, at the door: beside a model's weights, alone, or come later."""

import shutil

import pytest
from doors import CPU, fetch, refusal
from frontier.errors import UserError
from frontier.model import bases, cache, sources

pytestmark = pytest.mark.usefixtures("own_cache")


def test_an_adapter_beside_the_weights_is_refused(folder):
    """transformers would load the adapter too, and the base's row would be the adapter's."""
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    assert refusal(folder).startswith(
        "has an adapter beside its weights, which loading would put on the base without a"
    )


def test_an_adapter_alone_is_no_model(folder):
    for name in ("config.json", "model.safetensors"):
        (folder / name).unlink()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    assert refusal(folder) == (
        "has no config.json: it is an adapter alone; give the model that it was trained on, or one that it was merged "
        "into"
    )


def test_an_adapter_on_the_hub_is_no_part_of_the_model(tiny_model, tmp_path, monkeypatch):
    snapshot = tmp_path / "hub/models--owner--name/snapshots" / ("a" * 40)
    shutil.copytree(tiny_model, snapshot)
    (snapshot / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    shutil.copy(tiny_model / "model.safetensors", snapshot / "adapter_model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    section = {"source": "hub", "id": "owner/name", "revision": "a" * 40}
    record = sources.fetch(section, {})
    assert set(record["files"]) == {path.name for path in tiny_model.iterdir()}
    shutil.rmtree(cache.CACHE)
    (snapshot / "config.json").unlink()
    with pytest.raises(
        UserError, match=r"^model: owner/name has no config\.json: it is an adapter alone; give the model"
    ):
        sources.fetch(section, {})


def test_an_adapter_that_comes_after_the_fetch_is_a_change(folder):
    record = fetch(folder)
    base = bases.convert(record, "fp32", CPU)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    with pytest.raises(UserError, match=r"^model: adapter_config\.json in .* changed since the model was fetched; "):
        bases.load(base, CPU)
