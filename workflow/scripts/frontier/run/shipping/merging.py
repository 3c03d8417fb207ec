"""Merge an adapter into a base's weights, one tensor in float32 at a time, and write them in 16 bits."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from frontier import records
from frontier.model.dtypes import name_of
from frontier.model.files import ADAPTER, INDEX, WEIGHTS, and_more, used_files
from frontier.run.shipping.adapter import Adapter
from frontier.run.shipping.room import Unsuited, require_room
from frontier.run.shipping.weights import Weights

# Bytes of a file of weights at the most, unless one tensor has more: what is held in memory while it is written.
_SHARD_BYTES = 2**30
# Models whose layers are Conv1D, which store a weight as (in, out).
_TRANSPOSED = ("gpt2", "openai-gpt")
# What a config says of a quantised base, and the old name of the dtype.
_OF_BASE = ("quantization_config", "_pre_quantization_dtype", "torch_dtype")
_TIED = ("lm_head", "embed_tokens", "embed_out", "wte")


def merge(base: Path, model: Path, adapter: Adapter, into: Path, dtype: torch.dtype) -> None:
    """Write a base with an adapter merged into it to the folder `into`, as `dtype`, with the model's other files.

    `base` is the folder of the weights, quantised or not, `model` that of the model they were made from. Raises
    Unsuited where the adapter changes what is stored elsewhere too, or a layer that the files do not have, or where a
    number does not fit in `dtype`, and UserError where the disk has no room.
    """
    config = records.read_json(model / "config.json")
    refuse_tied(config, adapter)
    with Weights(base) as weights:
        absent = sorted(layer for layer in adapter.pairs if f"{layer}.weight" not in weights.names)
        if absent:
            raise Unsuited(
                f"shipping: the files of {base} have no weight of {and_more(absent)}, so the adapter cannot be merged "
                "into them; ship the adapter itself"
            )
        sizes = {name: weights.elements(name) * dtype.itemsize for name in weights.names}
        require_room(into, sum(sizes.values()), "the merged model")
        shards = _shards(sizes)
        for file, names in shards.items():
            # In a call of its own, a file's tensors are gone before those of the next are read.
            _write(into / file, names, weights, adapter, config["model_type"], dtype)
    if len(shards) > 1:
        places = {name: file for file, names in shards.items() for name in names}
        records.write_json(
            into / INDEX, {"metadata": {"total_size": sum(sizes.values())}, "weight_map": dict(sorted(places.items()))}
        )
    for path in files_beside(model):
        shutil.copyfile(path, into / path.name)
    kept = {key: value for key, value in config.items() if key not in _OF_BASE}
    records.write_json(into / "config.json", kept | {"dtype": name_of(dtype)})


def refuse_tied(config: dict, adapter: Adapter) -> None:
    """Raise Unsuited where an adapter changes a matrix that a model has as its embeddings and as its head at once."""
    tied = [layer for layer in adapter.pairs if layer.rpartition(".")[2] in _TIED]
    if tied and config.get("tie_word_embeddings"):
        raise Unsuited(
            f"shipping: the adapter changes {and_more(tied)}, whose weight the model's embeddings and head share: "
            "merged, it would change both; ship the adapter itself"
        )


def files_beside(model: Path) -> list[Path]:
    """Return a model's files other than its weights: its config, tokenizer, generation settings, chat template."""
    weights = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
    others = [path for path in used_files(model) if path.suffix not in weights and path.name != INDEX]
    return [path for path in others if path.name not in ADAPTER]


def _shards(sizes: dict[str, int]) -> dict[str, list[str]]:
    """Return which tensors each file gets, by the files' names, in the order of the tensors."""
    groups: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if held and held + size > _SHARD_BYTES:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += size
    if len(groups) == 1:
        return {WEIGHTS: groups[0]}
    return {f"model-{place:05d}-of-{len(groups):05d}.safetensors": names for place, names in enumerate(groups, 1)}


def _write(path: Path, names: list[str], weights: Weights, adapter: Adapter, kind: str, dtype: torch.dtype) -> None:
    """Write one file of the merged model's weights."""
    tensors = {name: _merged(weights, name, adapter, kind, dtype) for name in names}
    save_file(tensors, path, metadata={"format": "pt"})


def _merged(weights: Weights, name: str, adapter: Adapter, kind: str, dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor of the merged model."""
    weight = weights.read(name)
    layer = name.removesuffix(".weight")
    if layer in adapter.pairs:
        update = adapter.update(layer)
        weight += update.T if kind in _TRANSPOSED else update
    # safetensors writes the values of a strided view in the wrong places.
    merged = weight.to(dtype).contiguous()
    if not all(map(torch.isfinite, torch.aminmax(merged))):
        raise Unsuited(
            f"shipping: {name}, merged, is not finite in {dtype}: it holds more than float16 can; bf16 among the "
            "study's precisions is merged in bfloat16"
        )
    return merged
