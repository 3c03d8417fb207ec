"""What a model's folder holds, each file opened: seconds for a 7B, since of weights the headers alone are read."""

from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import torch

from frontier.errors import UserError
from frontier.model import loading, positions
from frontier.model.config_file import architectures, quantised_line, read_config, reason
from frontier.model.files import (
    ADAPTER,
    INDEX,
    WEIGHTS,
    and_more,
    open_json,
    pointer_line,
    reading,
    require_weights,
    weight_map,
)
from frontier.model.headers import Tensor, elements, read_header, read_tensors
from frontier.model.tokenizer_files import check_tokenizer
from frontier.strict_json import is_pointer
from frontier.units import GIB

# The files beside weights that transformers loads a model, its settings or its tokenizer from.
_LOADED = (
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "*.jinja",
    INDEX,
)
# The last words in the names of tensors of whole numbers that no quantiser has made.
_MASKS = ("bias", "masked_bias", "position_ids", "token_type_ids", "mask", "tid2eid", "num_batches_tracked")
# Bytes of each tensor that are compared where a folder has its weights twice.
_SAMPLE = 4096


def inspect(folder: Path, name: str, has_tokenizer: bool = True) -> tuple[dict, list[str]]:
    """Return what a model's files hold, for its record, and warnings; `name` is what its user calls the model.

    Raises UserError where a file is not whole, or the model is none that is measured here as what it is.
    """
    with reading(name):
        require_weights(folder, name)
        _open_all(folder, name)
        config = read_config(folder, name)
        tensors = read_tensors(folder, name)
    _refuse_quantised(tensors, name)
    model, unused = _on_meta(folder, name)
    unused = loading.refuse_unused(model, unused, tensors, name)
    opened = {
        "tensors": len(tensors),
        "dtypes": dict(sorted(Counter(tensor.dtype for tensor in tensors.values()).items())),
        "parameters": elements(tensors),
        "gib": sum(tensor.size for tensor in tensors.values()) / GIB,
        "quantised": False,
        "unused": len(unused),
        **positions.positions_of(model),
    }
    warnings = _second_copy(folder, name) + _other_class(folder, name, type(model).__name__)
    if unused:
        warnings.append(f"{name}: {and_more(unused)} of its files belong to no causal language model and are not read")
    if has_tokenizer:
        warnings += check_tokenizer(folder, name, config.get_text_config().vocab_size)
    return opened, warnings


def _open_all(folder: Path, name: str) -> None:
    """Raise UserError where a file that loading reads leads to nothing, is a pointer or no JSON, or is an adapter's."""
    files = sorted(path.name for path in folder.iterdir() if any(fnmatch(path.name, pattern) for pattern in _LOADED))
    dead = [file for file in files if (folder / file).is_symlink() and not (folder / file).exists()]
    if dead:
        raise UserError(f"model: {name}: {and_more(dead)} there is a link to nothing; copy the files themselves")
    for path in (folder / file for file in files):
        if not path.is_file():
            raise UserError(f"model: {name}: {path.name} there is no file")
        if path.suffix == ".json":
            open_json(path, name)
        elif is_pointer(path):
            raise UserError(pointer_line(path, name))
    if (folder / ADAPTER[0]).exists():
        raise UserError(
            f"model: {name} has an adapter beside its weights, which loading would put on the base without a word; "
            f"move {ADAPTER[0]} and its weights elsewhere, or merge them"
        )


def _refuse_quantised(tensors: dict[str, Tensor], name: str) -> None:
    """Raise UserError where tensors hold numbers of fewer than 16 bits, or whole numbers in place of weights."""
    for key, tensor in tensors.items():
        is_whole = tensor.dtype[0] in "IUB" and tensor.dtype != "BF16"
        if loading.is_number(tensor.dtype) or (is_whole and (len(tensor.shape) < 2 or key.split(".")[-1] in _MASKS)):
            continue
        raise UserError(quantised_line(name, f"{key} is {tensor.dtype}"))


def _on_meta(folder: Path, name: str):
    """Return the model without content and what it does not use of its files; UserError where it cannot be loaded."""
    try:
        # Whatever dtype config.json names, the weights' own headers say what they are.
        return loading.load_whole(folder, name, device_map="meta", dtype=torch.float32)
    except UserError:
        raise
    except Exception as error:
        # A model's class refuses its configuration by whatever error it likes.
        raise UserError(
            f"model: {name} cannot be loaded: {reason(error, open_json(folder / 'config.json', name))}"
        ) from error


def _other_class(folder: Path, name: str, loaded: str) -> list[str]:
    """Return a warning where config.json names code of its own, or a class other than `loaded`, which is taken."""
    options = open_json(folder / "config.json", name)
    if options.get("auto_map"):
        return [f"{name}: code of its own (auto_map) is not run; it is loaded as transformers' {options['model_type']}"]
    named = [one for one in architectures(options) if one.endswith("ForCausalLM")]
    if named and loaded not in named:
        return [
            f"{name}: config.json names {named[0]} (architectures) and model_type {options['model_type']}, by which it "
            f"is loaded, as {loaded}"
        ]
    return []


def _second_copy(folder: Path, name: str) -> list[str]:
    """Return a warning where a folder has its weights twice; UserError where the copies are not of the same weights."""
    if not ((folder / WEIGHTS).exists() and (folder / INDEX).exists()):
        return []
    others = set(weight_map(folder / INDEX, name).values()) - {WEIGHTS}
    there = [folder / file for file in sorted(others) if (folder / file).is_file()]
    if not there:
        return []
    first = {key: (folder / WEIGHTS, tensor) for key, tensor in read_header(folder / WEIGHTS, name).items()}
    second = {key: (path, tensor) for path in there for key, tensor in read_header(path, name).items()}
    for key in sorted(first.keys() | second.keys()):
        if key not in first or key not in second or _differ(*first[key], *second[key]):
            raise UserError(
                f"model: {name} has its weights twice and they differ, in {key} say: {WEIGHTS}, and what {INDEX} "
                "names; move one of the two elsewhere"
            )
    return [f"{name} has its weights twice: {WEIGHTS} is read, and what {INDEX} names is not"]


def _differ(path: Path, tensor: Tensor, other_path: Path, other: Tensor) -> bool:
    """Return whether two tensors differ, in shape or, where their dtypes are the same, in their first bytes."""
    if tensor.shape != other.shape or tensor.dtype != other.dtype:
        return tensor.shape != other.shape
    found = []
    for file, one in ((path, tensor), (other_path, other)):
        with open(file, "rb") as opened:
            opened.seek(one.start)
            found.append(opened.read(min(one.size, _SAMPLE)))
    return found[0] != found[1]
