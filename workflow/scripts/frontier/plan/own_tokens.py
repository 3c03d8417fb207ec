"""Make a study's tokens by its model's own tokenizer, where that is here or the hub gives it without the weights."""

from pathlib import Path
from typing import cast

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError

from frontier import records
from frontier.data_types import Example
from frontier.errors import UserError
from frontier.material_types import ModelRecord
from frontier.model import cache
from frontier.model.data.chat import ChatEncoder
from frontier.model.data.chat_tokens import tokenize_chats
from frontier.model.data.tokens import tokenize
from frontier.model.tokenizer import load_encoder

# The files that a tokenizer is made of, beside config.json, which says how many tokens the embeddings have.
_FILES: tuple[str, ...] = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
)
_FILES += ("vocab.json", "merges.txt", "*.jinja")


def own_tokens(study: dict, splits: dict[str, list[Example]]) -> dict[str, list[dict]] | None:
    """Return the examples of each split as tokens, as a run would make them; None where the tokenizer cannot be had.

    None also where a run would refuse it or them: that is said when the tokens are made.
    """
    folder = _folder(study["model"])
    if folder is None:
        return None
    record = cast(ModelRecord, {"folder": str(folder), "tokenizer": str(folder), "architecture_only": False})
    data = study["data"]
    try:
        encoder = load_encoder(record, data["template"], [row for rows in splits.values() for row in rows])
        made = {name: _made(rows, encoder, data, name) for name, rows in splits.items()}
    except (UserError, OSError):
        return None
    return made if all(made.values()) else None


def _made(rows: list[Example], encoder, data: dict, name: str) -> list[dict]:
    if isinstance(encoder, ChatEncoder):
        return tokenize_chats(rows, encoder, data["max_length"], data.get("loss_turns", "all"), name)[0]
    return tokenize(rows, encoder, data["max_length"])[0]


def _folder(model: dict) -> Path | None:
    """Return the folder that has the tokenizer of a study's `model` section, fetched for that if it has to be."""
    fetched = cache.CACHE / "models" / records.digest(model)[:16]
    if model["source"] == "path":
        return Path(model["path"]).resolve()
    if fetched.exists():
        return fetched if model["source"] != "architecture" else None
    if model["source"] != "hub":
        return None
    try:
        return Path(snapshot_download(model["id"], revision=model.get("revision"), allow_patterns=[*_FILES]))
    except (OSError, ValueError, HTTPError):
        return None
