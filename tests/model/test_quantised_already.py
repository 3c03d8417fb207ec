"""A model that is quantised already is refused at fetch, wherever it says so or shows it."""

import shutil

import pytest
import torch
from doors import CPU, UP, edit_config, edit_weights, fetch, refusal
from frontier.model import bases, cache
from safetensors.torch import load_file

# Eight packed rows, as quantisers write them.
WORDS = torch.zeros(8, 32, dtype=torch.int32)
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("source", ["the whole base", "without its quantization_config"])
def test_the_projects_own_quantised_base_is_no_model_to_measure(tiny_model, folder, source):
    base = bases.convert(fetch(tiny_model), "nf4", CPU)
    made = cache.CACHE / base["folder"]
    for file in tiny_model.glob("tokenizer*"):
        shutil.copy(file, made)
    if source == "the whole base":
        assert refusal(made).startswith("is quantised already (quantization_config in config.json: bitsandbytes); give")
    else:
        edit_config(made, quantization_config=None)
        assert refusal(made).startswith("is quantised already (model.layers.0.")


@pytest.mark.parametrize("method", ["gptq", "fp8", "awq", "mxfp4", "compressed-tensors", "a method of 2027"])
def test_a_configuration_of_a_quantiser_is_refused(folder, method):
    edit_config(folder, quantization_config={"quant_method": method, "bits": 4})
    assert refusal(folder).startswith(f"is quantised already (quantization_config in config.json: {method}); give the ")


def test_a_quantisers_configuration_is_seen_wherever_it_lies(folder):
    edit_config(folder, compression_config={"format": "pack-quantized"})
    assert refusal(folder).startswith("is quantised already (compression_config in config.json: by a method that it")
    edit_config(folder, compression_config=None, text_config={"quantization_config": {"quant_method": "fp8"}})
    assert refusal(folder).startswith("is quantised already (quantization_config in config.json: fp8)")
    edit_config(folder, text_config=None)
    (folder / "quantize_config.json").write_text('{"bits": 4}')
    assert refusal(folder).startswith("is quantised already (quantize_config.json is there)")


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        (UP, torch.zeros(64, 32).to(torch.float8_e4m3fn)),
        (UP, torch.zeros(64, 32).to(torch.float8_e5m2)),
        (UP, torch.zeros(1024, 1, dtype=torch.uint8)),
        (UP, torch.zeros(64, 32, dtype=torch.int8)),
        (UP.replace("weight", "qweight"), WORDS),
        (UP.replace("weight", "weight_packed"), WORDS),
        (UP.replace("weight", "blocks"), WORDS.to(torch.uint8)),
    ],
)
def test_weights_of_fewer_bits_are_seen_in_the_files_alone(folder, name, tensor):
    """transformers would cast them without their scales, or draw what it misses at random."""

    def change(weights):
        del weights[UP]
        weights[name] = tensor

    assert refusal(edit_weights(folder, change)).startswith(f"is quantised already ({name} is ")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_weights_of_any_float_are_taken_for_what_they_are(tiny_model, folder, dtype):
    """Whatever config.json says they are, under whichever name."""
    edit_weights(folder, lambda weights: weights.update({key: one.to(dtype) for key, one in weights.items()}))
    edit_config(folder, dtype=None, torch_dtype="bfloat16")
    record = fetch(folder)
    assert sum(record["opened"]["dtypes"].values()) == record["opened"]["tensors"]
    assert len(record["opened"]["dtypes"]) == 1
    base = bases.convert(record, "fp32", CPU)
    weight = bases.load(base, CPU).model.layers[0].mlp.up_proj.weight
    assert torch.equal(weight, load_file(tiny_model / "model.safetensors")[UP].to(dtype).float())
    assert bases.weights_gib(base) * 2**30 == record["opened"]["parameters"] * 4
