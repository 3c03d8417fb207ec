"""What is called a model, at the door: each folder is taken for what its files say, or refused in one line at fetch."""

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
import transformers
from frontier import paths, records
from frontier.errors import UserError
from frontier.model import bases, cache, prepare, sources
from frontier.model.data.json_lines import write_lines
from frontier.study import embedded
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

CPU = torch.device("cpu")
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
UP = "model.layers.0.mlp.up_proj.weight"
# Eight packed rows, as quantisers write them.
WORDS = torch.zeros(8, 32, dtype=torch.int32)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tiny_model, tmp_path) -> Path:
    """A copy of the tiny model to spoil."""
    return shutil.copytree(tiny_model, tmp_path / "model")


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


def test_a_whole_model_is_taken_and_its_record_says_what_was_opened(tiny_model):
    record = fetch(tiny_model)
    assert record["warnings"] == []
    weights = load_file(tiny_model / "model.safetensors")
    count = sum(tensor.numel() for tensor in weights.values())
    assert record["opened"] == {
        "tensors": len(weights),
        "dtypes": {"F32": len(weights)},
        "parameters": count,
        "gib": count * 4 / 2**30,
        "quantised": False,
        "unused": 0,
        "positions": 256,
        "is_table": False,
    }


# A model that is quantised already


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


# Files that are not whole


def test_a_file_that_is_cut_short_is_refused(folder):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    for part, line in (
        (content[: len(content) // 2], "model.safetensors is cut short: "),
        (content[:-1], "model.safetensors is cut short: "),
        (content[: 8 + length // 2], "model.safetensors is no safetensors file, or cut short within its header"),
        (content[:5], "model.safetensors is no safetensors file, or cut short within its header"),
        (b"", "model.safetensors is no safetensors file, or cut short within its header"),
        (b"<!DOCTYPE html><html>not found</html>", "model.safetensors is no safetensors file, or cut short"),
        (content + b"\0", "model.safetensors is longer than its header says"),
        (content[:8] + b"[" + content[9:], "the header of model.safetensors is damaged"),
    ):
        path.write_bytes(part)
        assert refusal(folder).startswith(line)


def test_spans_that_overlap_or_leave_a_hole_are_refused(folder):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    start, stop = header[UP]["data_offsets"]
    for span in ([start - 4, stop - 4], [start, stop - 4], [stop, start]):
        text = json.dumps(header | {UP: header[UP] | {"data_offsets": span}}).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
        assert refusal(folder).startswith("the header of model.safetensors is damaged")


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "tokenizer.json", "config.json", "generation_config.json", "tokenizer.model", "a.jinja"],
)
def test_a_pointer_of_git_lfs_is_refused(folder, name):
    (folder / name).write_text(POINTER)
    assert refusal(folder) == f"{name} is a pointer of Git LFS, not the file; run git lfs pull in that folder"


@pytest.mark.parametrize("name", ["tokenizer.json", "generation_config.json", "config.json", "tokenizer_config.json"])
def test_json_that_is_cut_short_is_refused(folder, name):
    text = (folder / name).read_text()
    (folder / name).write_text(text[: len(text) // 2])
    assert refusal(folder).startswith(f"{name} is not whole: it is no JSON (")


def test_links_that_lead_nowhere_are_refused(folder):
    """As in a snapshot of Hugging Face's cache that was copied without its blobs; one may lead to itself."""
    (folder / "generation_config.json").unlink()
    (folder / "generation_config.json").symlink_to("../blobs/4d7a")
    assert refusal(folder).startswith("generation_config.json there is a link to nothing")
    (folder / "generation_config.json").unlink()
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("model.safetensors")
    assert refusal(folder).endswith("which alone are read; model.safetensors there is a link to nothing")


def test_a_file_beside_the_model_that_nothing_reads_may_be_anything(folder):
    for name in ("README.md", "pytorch_model.bin", "consolidated.safetensors", "original/params.json", "rows.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(POINTER)
    (folder / "flax_model.msgpack").symlink_to("../blobs/4d7a")
    (folder / "again").symlink_to(folder, target_is_directory=True)
    assert fetch(folder)["warnings"] == []


# An index and its shards


def test_an_index_and_its_shards_are_held_against_each_other(folder):
    in_shards(folder)
    assert fetch(folder)["warnings"] == []
    names = sorted(path.name for path in folder.glob("model-*.safetensors"))
    first = load_file(folder / names[0])
    key = next(iter(first))
    index = (folder / "model.safetensors.index.json").read_text()
    for change, line in (
        (
            lambda files: files.update({"model.layers.0.mlp.other.weight": names[0]}),
            "no file has model.layers.0.mlp.other",
        ),
        (
            lambda files: files.update({key: "../model.safetensors"}),
            "model.safetensors.index.json names ../model.safete",
        ),
        (
            lambda files: files.update({key: "consolidated-1.safetensors"}),
            "model.safetensors.index.json names consolida",
        ),
        (lambda files: files.update({key: "absent.safetensors"}), "lacks absent.safetensors, which its index names"),
        (lambda files: files.update({key: 3}), "model.safetensors.index.json has no weight_map that names a file"),
        (lambda files: files.clear(), "model.safetensors.index.json has no weight_map that names a file"),
    ):
        assert refusal(edit_index(folder, change)).startswith(line)
        (folder / "model.safetensors.index.json").write_text(index)
    save_file(load_file(folder / names[1]) | {key: first[key]}, folder / names[1], metadata={"format": "pt"})
    assert refusal(folder).startswith(f"{names[1]} and another file both have {key}")


def test_weights_that_lie_there_twice_are_the_same_or_refused(tiny_model, folder):
    in_shards(folder)
    shutil.copy(tiny_model / "model.safetensors", folder)
    assert fetch(folder)["warnings"] == [
        f"{folder} has its weights twice: model.safetensors is read, and what model.safetensors.index.json names is not"
    ]
    edit_weights(folder, lambda weights: weights.update({key: one.half() for key, one in weights.items()}))
    assert len(fetch(folder)["warnings"]) == 1
    shutil.copy(tiny_model / "model.safetensors", folder)
    edit_weights(folder, lambda weights: weights[UP].add_(1))
    assert refusal(folder).startswith(f"has its weights twice and they differ, in {UP} say: model.safetensors, and")


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["pytorch_model.bin"], "save_pretrained writes them, of pytorch_model.bin there"),
        (["consolidated.00.pth"], "save_pretrained writes them, of consolidated.00.pth there"),
        (["model-q4.gguf"], "save_pretrained writes them, of model-q4.gguf there"),
        (["model.fp16.safetensors"], "model.fp16.safetensors there is neither model.safetensors nor named by"),
        (["adapter_model.safetensors", "pytorch_model.bin"], "save_pretrained writes them, of pytorch_model.bin there"),
    ],
)
def test_weights_of_other_names_are_not_loaded(folder, names, line):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    for name in names:
        (folder / name).write_bytes(weights)
    assert line in refusal(folder)


def test_a_configuration_that_names_weights_of_its_own_is_refused(folder):
    shutil.copy(folder / "model.safetensors", folder / "other.safetensors")
    edit_config(folder, transformers_weights="other.safetensors")
    assert refusal(folder).startswith("config.json names weights by transformers_weights")


# An adapter


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


# What the configuration says, and what the weights are


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ([1, 2], "config.json holds no object of names and values"),
        ({"hidden_size": 32}, "config.json names no model_type, so nothing says what the weights are"),
        ({"model_type": "gpt7"}, f"transformers {transformers.__version__} has no model_type gpt7"),
        (
            {"model_type": "chatglm", "auto_map": {"AutoConfig": "configuration_chatglm.ChatGLMConfig"}},
            f"transformers {transformers.__version__} has no model_type chatglm but with code of its own",
        ),
        ({"model_type": "t5"}, "is an encoder and a decoder (t5); give a causal language model"),
        ({"model_type": "bart"}, "is an encoder and a decoder (bart); give a causal language model"),
        ({"model_type": "bert"}, "is an encoder (bert, is_decoder false); give a causal language model"),
        ({"model_type": "roberta"}, "is an encoder (roberta, is_decoder false); give a causal language model"),
        ({"model_type": "vit"}, "is a vit, which is no causal language model to transformers"),
        (tiny.CONFIG | {"hidden_size": "wide"}, "transformers refuses its config.json: "),
    ],
)
def test_a_configuration_of_no_causal_language_model_is_refused(folder, content, line):
    (folder / "config.json").write_text(json.dumps(content))
    assert refusal(folder).startswith(line)


@pytest.mark.parametrize("head", ["LlamaForSequenceClassification", "LlamaForTokenClassification"])
def test_a_classifier_is_refused(folder, head):
    assert refusal(edit_config(folder, architectures=[head])).startswith(f"is a {head}, which predicts no next token")


def test_code_of_its_own_that_transformers_has_too_is_said_not_to_run(folder):
    edit_config(folder, auto_map={"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"})
    line = f"{folder}: code of its own (auto_map) is not run; it is loaded as transformers' llama"
    assert fetch(folder)["warnings"] == [line]


def test_a_weight_that_no_file_has_is_refused(folder):
    edit_weights(folder, lambda weights: [weights.pop(key) for key in list(weights) if "up_proj" in key])
    assert refusal(folder) == (f"no file has {UP} and 1 more, which transformers would draw at random")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model."])
def test_weights_under_a_wrappers_names_are_refused(folder, prefix):
    """As torch's wrappers and PEFT's leave them: transformers would draw the whole model at random."""

    def change(weights):
        renamed = {prefix + key: weight for key, weight in weights.items()}
        weights.clear()
        weights.update(renamed)

    line = refusal(edit_weights(folder, change))
    assert line.startswith("no file has ")
    assert line.endswith(f"; they have {prefix}model.embed_tokens.weight and 19 more instead")


def test_a_layer_more_or_fewer_than_the_configuration_has_is_refused(folder):
    edit_config(folder, num_hidden_layers=3)
    assert refusal(folder).startswith("no file has model.layers.2.input_layernorm.weight and 8 more")
    edit_config(folder, num_hidden_layers=1)
    assert refusal(folder).startswith("its files have model.layers.1.input_layernorm.weight and 8 more, for which the")


def test_a_shape_other_than_the_configurations_is_refused(folder):
    edit_config(folder, intermediate_size=48)
    assert refusal(folder) == (
        "config.json gives another shape than model.layers.0.mlp.down_proj.weight and 5 more in its files: "
        "(32, 64) for (32, 48)"
    )


@pytest.mark.parametrize("name", ["model.layers.0.self_attn.q_proj.bias", "model.layers.1.self_attn.q_norm.weight"])
def test_a_weight_that_the_model_should_have_had_is_refused(folder, name):
    edit_weights(folder, lambda weights: weights.update({name: torch.ones(32)}))
    assert refusal(folder) == f"its files have {name}, for which the model of its config.json has no place"


def test_a_weight_of_another_business_is_counted_and_said(folder):
    names = ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.0.self_attn.masked_bias"]
    edit_weights(folder, lambda weights: weights.update({name: torch.ones(4) for name in names}))
    assert fetch(folder)["opened"]["unused"] == 0
    edit_weights(folder, lambda weights: weights.update({"v_head.summary.weight": torch.ones(1, 32)}))
    record = fetch(folder)
    assert record["opened"]["unused"] == 1
    assert record["warnings"] == [
        f"{folder}: v_head.summary.weight of its files belong to no causal language model and are not read"
    ]


def test_a_head_that_is_tied_and_there_is_the_files_own(folder):
    """And one that is neither tied nor there is refused, which transformers would draw at random."""
    head = torch.randn(300, 32, generator=torch.Generator().manual_seed(1))
    edit_weights(folder, lambda weights: weights.update({"lm_head.weight": head}))
    for precision in ("fp32", "nf4"):
        model = bases.load(bases.convert(fetch(folder), precision, CPU), CPU)
        assert torch.equal(model.lm_head.weight.float(), head if precision == "fp32" else head.half().float())
        assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    edit_weights(folder, lambda weights: weights.pop("lm_head.weight"))
    edit_config(folder, tie_word_embeddings=False)
    assert refusal(folder) == "no file has lm_head.weight, which transformers would draw at random"


@pytest.mark.parametrize("precision", ["fp16", "nf4", "fp4"])
def test_a_weight_that_float16_cannot_hold_is_refused_at_that_precision(folder, precision):
    """bfloat16's largest number is 3e38: cast, it is an infinity, and every loss after it NaN."""

    def change(weights):
        weights[UP] = weights[UP].bfloat16()
        weights[UP][3, 5] = 1e6

    record = fetch(edit_weights(folder, change))
    assert bases.load(bases.convert(record, "bf16", CPU), CPU).model.layers[0].mlp.up_proj.weight[3, 5] == 999424
    with pytest.raises(UserError, match=rf"^model: .*: {UP} is not finite at {precision}: its files hold NaN, an inf"):
        bases.load(bases.convert(record, precision, CPU), CPU)


def test_a_weight_that_is_no_number_is_refused_at_any_precision(folder):
    record = fetch(edit_weights(folder, lambda weights: weights["model.norm.weight"].fill_(float("nan"))))
    for precision in ("fp32", "nf4"):
        with pytest.raises(UserError, match=rf"^model: .*: model\.norm\.weight is not finite at {precision}: "):
            bases.load(bases.convert(record, precision, CPU), CPU)


# The tokenizer


def test_a_sentencepiece_file_alone_names_what_it_needs(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    line = refusal(folder)
    assert line.startswith(
        "its tokenizer is tokenizer.model alone, which takes sentencepiece and protobuf to read; where"
    )
    assert line.endswith("writes tokenizer.json")


def test_a_tokenizer_that_is_not_there_or_not_whole_is_refused(folder):
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    assert refusal(folder).startswith("its tokenizer cannot be loaded: ")
    (folder / "tokenizer.json").unlink()
    assert refusal(folder).startswith("its tokenizer cannot be loaded: ")


def test_a_tokenizer_with_code_of_its_own_is_refused_without_a_question(folder):
    config = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert refusal(folder).startswith("its tokenizer cannot be loaded: ")


def test_a_tokenizer_of_no_end_is_refused_at_fetch(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)
    assert refusal(folder).startswith("neither its tokenizer nor generation_config.json names an end-of-sequence")


def test_words_beyond_the_embeddings_are_refused(tmp_path):
    folder = tiny.write_model(tmp_path / "model", vocab_size=200)
    assert refusal(folder).startswith("its tokenizer has 257 tokens and the model 200: it lacks ")


def test_an_added_token_beyond_the_embeddings_is_said_and_refused_in_a_text(tmp_path):
    """It would be another token's embedding, or an index out of range."""
    folder = tiny.write_model(tmp_path / "model", vocab_size=257)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<image>"])
    tokenizer.save_pretrained(folder)
    line = f"{folder}: its tokenizer adds <image>, of which the model has no embedding; no example may hold them"
    assert fetch(folder)["warnings"] == [line]
    assert tokens(folder, "7")["train"]["examples"] == 1
    with pytest.raises(
        UserError, match=r"^model: its tokenizer has <image> as token 257, its weights have 257 embeddings; "
    ):
        tokens(folder, "the <image> has 7")
    tokenizer.eos_token = "<image>"
    tokenizer.save_pretrained(folder)
    assert refusal(folder) == "its tokenizer's end of sequence, <image>, is token 257, and the model has 257"


# Positions


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


TABLES = {
    "opt": {"max_position_embeddings": 128, "word_embed_proj_dim": 32, "ffn_dim": 64},
    "gpt2": {"max_position_embeddings": 128},
    "gpt_neo": {"max_position_embeddings": 128, "attention_types": [[["global", "local"], 1]]},
    "gptj": {"max_position_embeddings": 128, "rotary_dim": 8},
    "biogpt": {"max_position_embeddings": 128},
}


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_an_example_past_a_table_of_positions_is_refused(tmp_path, kind):
    folder = tiny.write_model(tmp_path / "model", model_type=kind, **TABLES[kind])
    opened = fetch(folder)["opened"]
    assert (opened["positions"], opened["is_table"]) == (128, True)
    assert tokens(folder, "7" * 100)["train"]["examples"] == 1
    with pytest.raises(UserError) as refused:
        tokens(folder, "7" * 391)
    assert str(refused.value) == (
        "data.max_length: takes at most 128, for which the model has a table of positions; got 394 tokens"
    )


def test_an_example_past_rotary_positions_is_said(tiny_model, folder, capsys):
    tokens(folder, "7" * 100)
    assert "warning" not in capsys.readouterr().out
    tokens(folder, "7" * 391)
    line = "warning: train: 394 tokens are more than the 256 positions that config.json names (max_position_embeddings)"
    assert line in capsys.readouterr().out.splitlines()


# The cache


def test_a_cache_that_cannot_be_written_to_is_one_line(tiny_model, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(cache, "CACHE", tmp_path / "file" / "cache")
    record = fetch(tiny_model)
    with pytest.raises(UserError) as refused:
        bases.convert(record, "nf4", CPU)
    line = str(refused.value)
    assert line.startswith(f"model: models and bases cannot be kept in {tmp_path}/file/cache ([Errno ")
    assert line.endswith("; set FRONTIER_CACHE to a folder that can be written to")


def test_a_base_in_another_cache_is_one_line(tiny_model, tmp_path, monkeypatch):
    base = bases.convert(fetch(tiny_model), "nf4", CPU)
    monkeypatch.setattr(cache, "CACHE", tmp_path / "other")
    with pytest.raises(
        UserError, match=r"^model: .*-nf4-\w+ is not there any more; set FRONTIER_CACHE to the cache that"
    ):
        bases.load(base, CPU)


def test_the_variable_moves_the_cache(tmp_path):
    code = "from frontier import paths; print(paths.CACHE)"
    variables = os.environ | {"PYTHONPATH": str(paths.SCRIPTS), paths.CACHE_VARIABLE: "elsewhere"}
    done = subprocess.run([sys.executable, "-c", code], env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path / "elsewhere")
