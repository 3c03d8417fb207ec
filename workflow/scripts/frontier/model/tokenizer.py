"""The tokenizer of a fetched model, the tokens that end its answers, and the size of its vocabulary."""

import json
from pathlib import Path

from transformers import AutoConfig, AutoTokenizer

from frontier.data_types import Example
from frontier.errors import UserError, first_line
from frontier.material_types import ModelRecord
from frontier.model import cache
from frontier.model.data import templates
from frontier.model.data.chat import ChatEncoder
from frontier.model.data.encoding import Encoder
from frontier.model.stamps import refuse_changed


def load_encoder(record: ModelRecord, template: str | None, rows: list[Example]) -> Encoder | ChatEncoder:
    """Return what makes the tokens of examples for a fetched model, by its record.

    That is a text with a place for the question, or the tokenizer's own chat template where `template` is `chat` or,
    being None, leaves it to the rows. Raises UserError where the model's files changed since, or name no end of
    sequence, or where template and rows do not go together.
    """
    tokenizer = load_tokenizer(record)
    ends, borrowed = _end_tokens(record, tokenizer), record["architecture_only"]
    chosen = templates.chosen(template, rows, has_own=bool(tokenizer.chat_template))
    if chosen == templates.CHAT:
        return ChatEncoder(tokenizer, vocabulary_size(record), ends, borrowed)
    return Encoder(tokenizer, chosen, vocabulary_size(record), ends, borrowed)


def load_tokenizer(record: ModelRecord):
    """Return the tokenizer of a fetched model, by its record.

    Raises UserError where the model's files changed since, or name no end of sequence.
    """
    refuse_changed(record)
    tokenizer = open_tokenizer(cache.CACHE / record["tokenizer"])
    _end_tokens(record, tokenizer)
    return tokenizer


def vocabulary_size(record: ModelRecord) -> int:
    """Return how many tokens the embeddings of a fetched model have, which a borrowed tokenizer may exceed."""
    return AutoConfig.from_pretrained(cache.CACHE / record["folder"]).get_text_config().vocab_size


def open_tokenizer(folder: Path):
    """Return the tokenizer in a folder; where transformers cannot load it, raise UserError.

    A tokenizer that leaves out merges by chance (BPE dropout) is made to leave out none: a text has one reading.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        # tokenizers raises plain exceptions, a tokenizer's class whatever its files bring about.
        raise UserError(f"model: its tokenizer cannot be loaded: {first_line(error)}") from error
    if tokenizer.is_fast and getattr(tokenizer.backend_tokenizer.model, "dropout", None):
        tokenizer.backend_tokenizer.model.dropout = None
    return tokenizer


def _end_tokens(record: ModelRecord, tokenizer) -> tuple[int, ...]:
    """Return the tokens that end an answer of a fetched model; of one without files of its own, its tokenizer's."""
    return end_tokens(tokenizer, None if record["architecture_only"] else cache.CACHE / record["folder"])


def end_tokens(tokenizer, folder: Path | None) -> tuple[int, ...]:
    """Return the tokens that end an answer; the first is the one that training puts there.

    That is the tokenizer's end of sequence; without one, the first that generation_config.json of the model's folder
    names, unless transformers wrote that file from its own defaults. Further ends are all others that the file names.
    Raises UserError where there is none.
    """
    ends = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    settings = _generation_settings(folder) if folder else {}
    if ends or not settings.get("_from_model_config"):
        ends += _named_ends(settings)
    if not ends:
        raise UserError(
            "model: neither its tokenizer nor generation_config.json names an end-of-sequence token, "
            "so no answer could be told to end"
        )
    return tuple(dict.fromkeys(ends))


def _named_ends(settings: dict) -> list[int]:
    """Return the ends of sequence that generation_config.json names; UserError where one can be no token's number."""
    named = settings.get("eos_token_id")
    ends = named if isinstance(named, list) else [] if named is None else [named]
    for token in ends:
        if type(token) is not int or token < 0:
            raise UserError(
                f"model: generation_config.json: eos_token_id: got {json.dumps(token)}, takes a token's number from 0, "
                "or a list of such"
            )
    return ends


def _generation_settings(folder: Path) -> dict:
    """Return what a model's generation_config.json says; nothing where there is none."""
    path = folder / "generation_config.json"
    try:
        settings = json.loads(path.read_text("utf-8")) if path.exists() else {}
    except ValueError as error:
        raise UserError(f"model: generation_config.json is not JSON: {first_line(error)}") from error
    return settings if isinstance(settings, dict) else {}
