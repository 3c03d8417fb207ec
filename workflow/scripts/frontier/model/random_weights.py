"""Random weights for a model that is given by its architecture alone, to measure cost without a download."""

import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from frontier import records

# Bytes after which a shard's file is full; one shard at a time is in memory.
_SHARD_BYTES = 2 * 2**30


def write_random_weights(model: Mapping[str, Any], into: Path) -> None:
    """Write float16 weights and the config of a `model` section's architecture as a folder that transformers loads.

    They are written a shard at a time, so that the whole model is never in memory.
    """
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


def _shards(weights: dict[str, torch.Tensor]) -> dict[str, list[str]]:
    """Return the weights' names by the file that is to hold them; a file is full once it passes `_SHARD_BYTES`."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, tensor in weights.items():
        if size >= _SHARD_BYTES:
            groups, size = [*groups, []], 0
        groups[-1].append(name)
        size += tensor.nbytes
    return {f"model-{number:05d}.safetensors": names for number, names in enumerate(groups, 1)}


def _random(name: str, shape: torch.Size, spread: float) -> torch.Tensor:
    """Return a float16 weight that depends on its name and shape alone, so that many can be drawn at once.

    Matrices are normal with the standard deviation `spread`, biases zeros, and other vectors (norms) ones.
    """
    if len(shape) < 2:
        return torch.full(shape, 0.0 if name.endswith("bias") else 1.0, dtype=torch.float16)
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.empty(shape, dtype=torch.float16).normal_(0, spread, generator=generator)
