"""The tokenizer of a fetched model."""

from pathlib import Path

from transformers import AutoConfig, AutoTokenizer

from frontier.errors import UserError, first_line
from frontier.model import cache
from frontier.model.cache import refuse_changed


def load_tokenizer(record: dict):
    """The tokenizer of a fetched model; one that changed or names no end of sequence raises UserError."""
    refuse_changed(record)
    tokenizer = open_tokenizer(cache.CACHE / record["tokenizer"])
    if tokenizer.eos_token_id is None:
        raise UserError("model: its tokenizer names no end-of-sequence token, so no answer could be told to end")
    return tokenizer


def vocabulary_size(record: dict) -> int:
    return AutoConfig.from_pretrained(cache.CACHE / record["folder"]).get_text_config().vocab_size


def open_tokenizer(folder: Path):
    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"model: its tokenizer cannot be loaded: {first_line(error)}") from error
