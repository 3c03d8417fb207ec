"""The tokenizer of a fetched model, and the size of its vocabulary."""

from pathlib import Path

from transformers import AutoConfig, AutoTokenizer

from frontier.errors import UserError, first_line
from frontier.model import cache
from frontier.model.stamps import refuse_changed


def load_tokenizer(record: dict):
    """Return the tokenizer of a fetched model, by its record.

    Raises UserError where the model's files changed since, or the tokenizer names no end of sequence.
    """
    refuse_changed(record)
    tokenizer = open_tokenizer(cache.CACHE / record["tokenizer"])
    refuse_endless(tokenizer)
    return tokenizer


def refuse_endless(tokenizer) -> None:
    """Raise UserError where a tokenizer names no end of sequence."""
    if tokenizer.eos_token_id is None:
        raise UserError("model: its tokenizer names no end-of-sequence token, so no answer could be told to end")


def vocabulary_size(record: dict) -> int:
    """Return how many tokens the embeddings of a fetched model have, which a borrowed tokenizer may exceed."""
    return AutoConfig.from_pretrained(cache.CACHE / record["folder"]).get_text_config().vocab_size


def open_tokenizer(folder: Path):
    """Return the tokenizer in a folder; where transformers cannot load it, raise UserError."""
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        # tokenizers raises plain exceptions, a tokenizer's class whatever its files bring about.
        raise UserError(f"model: its tokenizer cannot be loaded: {first_line(error)}") from error
