"""The files of a model, at the door: each is whole and what its name says, or one line names it."""

import json
import shutil
import struct
import sys

import pytest
import torch
from doors import CPU, POINTER, UP, edit_config, edit_index, edit_weights, fetch, in_shards, refusal
from frontier.model import bases
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.usefixtures("own_cache")


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


def edit_header(folder, change) -> None:
    """Have `change(entries)` change the header of the folder's one weights file."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    entries = json.loads(content[8 : 8 + length])
    change(entries)
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


@pytest.mark.parametrize(
    "words", [{"shape": [-64, -32]}, {"shape": [64, 16]}, {"dtype": "F16"}, {"dtype": "F64"}, {"dtype": ""}]
)
def test_a_header_whose_words_on_a_tensor_do_not_go_together_is_refused(folder, words):
    edit_header(folder, lambda entries: entries[UP].update(words))
    assert refusal(folder) == f"the header of model.safetensors is damaged at {UP}; fetch the file again"


def test_spans_that_overlap_or_leave_a_hole_are_refused(folder):
    spans = []
    edit_header(folder, lambda entries: spans.append(entries[UP]["data_offsets"]))
    start, stop = spans[0]
    for span in ([start - 4, stop - 4], [start, stop - 4], [stop, start]):
        edit_header(folder, lambda entries, span=span: entries[UP].update(data_offsets=span))
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


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "generation_config.json"])
def test_json_that_two_readers_could_read_otherwise_is_refused(folder, name):
    """Of a key that stands twice transformers takes the last, and NaN in a setting makes NaN of every loss."""
    text = (folder / name).read_text()
    for made, line in (
        (text.replace("{", '{"twice": 1, "twice": 2,', 1), f'{name} has "twice" twice; mend it, or'),
        (text.replace("{", '{"eps": NaN,', 1), f"{name} has NaN in place of a number; mend it, or"),
        (
            "\ufeff" + text,
            f"{name} begins with a byte-order mark, with which transformers does not read it; save it",
        ),
        (text.replace("{", f'{{"deep": {"[" * 10**5}', 1), f"{name} is not whole: it is no JSON (nested too deeply)"),
    ):
        (folder / name).write_text(made)
        assert refusal(folder).startswith(line)
    if name == "config.json":
        (folder / name).write_text(text.replace("{", '{"time_step_limit": [0.0, Infinity],', 1))
        assert fetch(folder)["warnings"] == []


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "generation_config.json"])
def test_a_folder_in_the_place_of_a_file_is_one_line(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    assert refusal(folder) == f"{name} there is no file"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_that_cannot_be_read_is_one_line(folder, name):
    """A process's own memory is a file that gives an error to whoever reads it, root included."""
    (folder / name).unlink()
    (folder / name).symlink_to("/proc/self/mem")
    assert refusal(folder).endswith("Input/output error; its files must be readable")


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


def test_an_index_that_tells_less_than_the_shards_have_or_another_of_them_changes_nothing(tiny_model, folder):
    """transformers reads every tensor of every file that an index names."""
    in_shards(folder)
    other = sorted(path.name for path in folder.glob("model-*.safetensors"))[-1]
    edit_index(folder, lambda files: (files.pop(UP), files.update({"model.embed_tokens.weight": other})))
    loaded = bases.load(bases.convert(fetch(folder), "fp32", CPU), CPU).state_dict()
    for key, weight in load_file(tiny_model / "model.safetensors").items():
        assert torch.equal(loaded[key], weight)


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
