"""Which files of a folder are a model's, those that its digest covers and those that hold its weights; and open one.

Loads no torch: each call of Snakemake asks which files to watch.
"""

from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from frontier import strict_json
from frontier.errors import UserError, first_line
from frontier.strict_json import is_pointer

# Where transformers looks for weights, in this order.
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# Mistral's own layout of the same weights, which transformers never reads.
OTHER_LAYOUT = ("consolidated*",)
# An adapter's files beside a model's weights: transformers would put the adapter on the model without a word.
ADAPTER = ("adapter_config.json", "adapter_model*")
# Files that no model is loaded from.
_UNREAD = (".*", "*.md", *OTHER_LAYOUT)


def used_files(folder: Path) -> list[Path]:
    """Return the files that a model may be loaded from, sorted by name; folders within its folder are left out."""
    files = [path for path in folder.iterdir() if path.is_file()]
    return sorted(path for path in files if not any(fnmatch(path.name, pattern) for pattern in _UNREAD))


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that transformers loads: `model.safetensors`, or without it those of the index."""
    one, index = folder / WEIGHTS, folder / INDEX
    if one.exists():
        return [one]
    if index.exists():
        return sorted(folder / name for name in set(weight_map(index, str(folder)).values()))
    return []


def weight_map(index: Path, name: str) -> dict[str, str]:
    """Return which file has each tensor, by an index; `name` is what its user calls the model.

    Raises UserError where it is no index, or names a file that the model's digest does not cover.
    """
    content = open_json(index, name)
    files = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not files or not all(isinstance(file, str) for file in files.values()):
        raise UserError(f"model: {name}: {index.name} has no weight_map that names a file for each tensor")
    for file in sorted(set(files.values())):
        if Path(file).name != file or any(fnmatch(file, pattern) for pattern in _UNREAD):
            raise UserError(
                f"model: {name}: {index.name} names {file}, which is not read; weights lie in the folder itself"
            )
    return files


def require_weights(folder: Path, name: str) -> None:
    """Raise UserError where a model's folder lacks config.json or weights; `name` is what its user calls the model."""
    if not (folder / "config.json").is_file():
        raise UserError(f"model: {name} has no config.json{_is_adapter(folder)}")
    paths = weight_files(folder)
    if not paths:
        raise UserError(f"model: {name} has no weights in safetensors files, which alone are read{_instead(folder)}")
    missing = [path.name for path in paths if not path.is_file()]
    if missing == [WEIGHTS]:
        raise UserError(f"model: {name}: {WEIGHTS} there is no file")
    if missing:
        raise UserError(f"model: {name} lacks {and_more(missing)}, which its index names")


def open_json(path: Path, name: str):
    """Return what a JSON file of the model `name` holds; UserError where it holds none."""
    if is_pointer(path):
        raise UserError(pointer_line(path, name))
    try:
        text = path.read_text("utf-8")
        if text.startswith("\ufeff"):
            raise UserError(
                f"model: {name}: {path.name} begins with a byte-order mark, with which transformers does not read it; "
                "save it as UTF-8 without one"
            )
        return strict_json.parse(text, takes_nan=False)
    except (strict_json.KeyTwice, strict_json.NotANumber) as error:
        raise UserError(f"model: {name}: {path.name} {error}; mend it, or fetch the file again") from error
    except ValueError as error:
        raise UserError(f"model: {name}: {path.name} is not whole: it is no JSON ({error})") from error


@contextmanager
def reading(name: str):
    """Raise UserError, in one line, where the block cannot read a file of the model `name`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"model: {name}: {first_line(error)}; its files must be readable") from error


def pointer_line(path: Path, name: str) -> str:
    """Return the refusal of a pointer of Git LFS."""
    return f"model: {name}: {path.name} is a pointer of Git LFS, not the file; run git lfs pull in that folder"


def and_more(names: list[str]) -> str:
    """Return the first of some names and how many more there are."""
    return f"{names[0]} and {len(names) - 1} more" if names[1:] else names[0]


def _is_adapter(folder: Path) -> str:
    """Return what to say of a folder without config.json that holds an adapter; nothing of another."""
    if (folder / ADAPTER[0]).is_file():
        return ": it is an adapter alone; give the model that it was trained on, or one that it was merged into"
    return ""


def _instead(folder: Path) -> str:
    """Return what a folder holds in place of weights that are read; nothing where it holds no weights at all."""
    names = sorted(path.name for path in folder.iterdir())
    others = [name for name in names if name.endswith(".safetensors") and not fnmatch(name, ADAPTER[1])]
    if WEIGHTS in names or INDEX in names:
        return f"; {WEIGHTS if WEIGHTS in names else INDEX} there is a link to nothing"
    if others:
        return f"; {and_more(others)} there is neither {WEIGHTS} nor named by {INDEX}"
    pickled = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf"))]
    if pickled:
        return f"; transformers' save_pretrained writes them, of {and_more(pickled)} there"
    return ""
