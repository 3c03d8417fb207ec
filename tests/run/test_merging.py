"""An adapter merged into a base's weights, tensor by tensor: the model computes what the adapter over it does."""

import json
import shutil

import bitsandbytes as bnb
import numpy as np
import pytest
import torch
from frontier import records
from frontier.errors import UserError
from frontier.model import bases, cache, sources
from frontier.run.shipping import loaded, merging, room
from frontier.run.shipping.adapter import read_adapter
from frontier.run.shipping.room import Unsuited
from frontier.run.shipping.weights import Weights
from peft import PeftModel
from safetensors.torch import load_file, save_file
from shipped import write_adapter, write_family
from transformers import AutoModelForCausalLM

CPU = torch.device("cpu")
IDS = torch.arange(3, 63)[None]


@pytest.fixture
def tied(tmp_path):
    """A small tied Llama with an adapter, both in their folders."""
    model = write_family(tmp_path / "model", "llama", tie_word_embeddings=True)
    write_adapter(model, tmp_path / "adapter", rslora=True)
    return tmp_path


def merged(folder, dtype=torch.float32, base=None):
    into = folder / "merged"
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    merging.merge(base or folder / "model", folder / "model", read_adapter(folder / "adapter"), into, dtype)
    return into


def logits(folder, dtype=torch.float32):
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)(IDS).logits[0].float()


def adapted_logits(folder):
    base = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    with torch.no_grad():
        return PeftModel.from_pretrained(base, folder / "adapter")(IDS).logits[0]


def test_a_merged_model_is_the_adapter_over_its_base(tied):
    assert torch.allclose(logits(merged(tied)), adapted_logits(tied), atol=1e-4)
    into = merged(tied, torch.bfloat16)
    assert records.read_json(into / "config.json")["dtype"] == "bfloat16"
    assert {tensor.dtype for tensor in load_file(into / "model.safetensors").values()} == {torch.bfloat16}
    assert (into / "tokenizer.json").read_bytes() == (tied / "model/tokenizer.json").read_bytes()


def test_a_model_of_several_files_is_the_same(tied, monkeypatch):
    whole = logits(merged(tied))
    monkeypatch.setattr(merging, "_SHARD_BYTES", 60_000)
    into = merged(tied)
    assert len([*into.glob("*.safetensors")]) > 2
    assert torch.equal(logits(into), whole)


@pytest.mark.parametrize("precision", ["nf4", "fp4", "int8"])
def test_a_packed_base_is_read_as_it_computes(tied, own_cache, precision):
    """The weights are read tensor by tensor; what bitsandbytes' own layers make of the same files is what counts."""
    record = sources.fetch({"source": "path", "path": str(tied / "model")}, {})
    base = bases.convert(record, precision, CPU)
    model = bases.load(base, CPU, "own")
    with Weights(cache.CACHE / base["folder"]) as weights:
        assert sorted(weights.names) == sorted(load_file(tied / "model/model.safetensors"))
        for name in weights.names:
            module = model.get_submodule(name.removesuffix(".weight"))
            found = weights.read(name)
            assert weights.elements(name) == found.numel()
            if hasattr(module.weight, "quant_state"):
                module.weight.quant_state.dtype = torch.float32
                assert torch.equal(found, bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state))
            elif precision == "int8" and module.weight.dtype == torch.int8:
                assert torch.allclose(found, module.weight.float() * module.weight.SCB[:, None] / 127)
            else:
                assert torch.equal(found, module.weight.float())
    assert (
        json.loads((merged(tied, base=cache.CACHE / base["folder"]) / "config.json").read_text()).get(
            "quantization_config"
        )
        is None
    )


def test_an_update_of_a_matrix_that_is_embeddings_and_head_is_refused(tmp_path):
    model = write_family(tmp_path / "model", "llama", tie_word_embeddings=True)
    write_adapter(model, tmp_path / "adapter", targets=["lm_head", "q_proj"])
    with pytest.raises(Unsuited, match=r"^shipping: the adapter changes lm_head, whose weight the model's embeddings"):
        merged(tmp_path)


def test_an_adapter_of_another_model_is_refused(tied):
    path = tied / "adapter/adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name.replace("layers.1", "layers.9"): tensor for name, tensor in tensors.items()}, path)
    with pytest.raises(Unsuited, match=r"have no weight of model\.layers\.9\.\S+ and 6 more, so the adapter cannot be"):
        merged(tied)


def test_what_is_more_than_pairs_of_lora_is_refused(tied):
    path = tied / "adapter/adapter_model.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"base_model.model.lm_head.weight": torch.zeros(2)}, path)
    with pytest.raises(Unsuited, match=r"holds base_model\.model\.lm_head\.weight; LoRA's pairs of matrices alone"):
        read_adapter(tied / "adapter")


def test_a_number_that_float16_cannot_hold_is_refused(tied):
    path = tied / "adapter/adapter_model.safetensors"
    save_file({name: tensor * 1e5 for name, tensor in load_file(path).items()}, path)
    with pytest.raises(Unsuited, match=r"^shipping: model\.layers\.0\.\S+, merged, is not finite in torch\.float16"):
        merged(tied, torch.float16)


def test_a_disk_without_room_is_one_line_before_anything_is_written(tied, monkeypatch):
    usage = shutil.disk_usage(tied)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(
        UserError, match=r"^shipping: the merged model needs 0\.00 GiB on the disk of \S+, which has"
    ) as e:
        merged(tied)
    assert not isinstance(e.value, Unsuited)
    assert [*(tied / "merged").iterdir()] == []


def test_strided_factors_are_written_in_their_order(tied):
    """safetensors would write the values of a strided view in the wrong places."""
    adapter = read_adapter(tied / "adapter")
    layer = min(adapter.pairs)
    update = adapter.update(layer)
    before = load_file(tied / "model/model.safetensors")[f"{layer}.weight"]
    after = load_file(merged(tied) / "model.safetensors")[f"{layer}.weight"]
    assert np.allclose((after - before).numpy(), update.numpy(), atol=1e-6)
    assert float(update.abs().max()) > 0.1


def test_a_base_whose_weights_are_gone_is_one_line(tied, own_cache):
    model = sources.fetch({"source": "path", "path": str(tied / "model")}, {})
    record = bases.convert(model, "nf4", CPU)
    paths = {name: str(tied / f"{name}.json") for name in ("model", "base", "proof")}
    for name, content in (("model", model), ("base", record), ("proof", {"read_directly": []})):
        records.write_json(paths[name], content)
    inputs = paths | {"adapter": str(tied / "adapter")}
    assert loaded.subject_of(inputs, CPU).sixteen_bit == "fp16"
    shutil.move(tied / "model", tied / "elsewhere")
    with pytest.raises(
        UserError, match=r"^model: \S+ is not there any more; set FRONTIER_CACHE to the cache that has it"
    ):
        loaded.subject_of(inputs, CPU)
