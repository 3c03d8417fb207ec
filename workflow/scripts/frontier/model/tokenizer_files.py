"""The tokenizer in a model's folder, opened and tried: whether it makes tokens of text, and such as the model has."""

import json
from pathlib import Path

import transformers

from frontier.errors import UserError
from frontier.model.files import and_more, open_json
from frontier.model.tokenizer import end_tokens, open_tokenizer

# What a tokenizer must make tokens of: words, numbers, signs, as the examples have them.
_PROBE = "Question: 12 + 3 = 15?"
# A tokenizer in the form that is read here, and in the form that needs libraries which are not.
_READ, _SENTENCEPIECE = "tokenizer.json", "tokenizer.model"
# What else is said of it.
_SETTINGS = "tokenizer_config.json"


def check_tokenizer(folder: Path, name: str, vocabulary: int) -> list[str]:
    """Return warnings about the tokenizer of the model `name`, whose embeddings have `vocabulary` rows.

    Raises UserError where it cannot be read, makes no tokens of text, ends no answer, or has words beyond these rows.
    """
    try:
        tokenizer = open_tokenizer(folder)
    except UserError as error:
        if (folder / _SENTENCEPIECE).exists() and not (folder / _READ).exists():
            raise UserError(
                f"model: {name}: its tokenizer is {_SENTENCEPIECE} alone, which takes sentencepiece and protobuf to "
                f"read; where they are, AutoTokenizer.from_pretrained(...).save_pretrained(...) writes {_READ}"
            ) from error
        raise
    settings = open_json(folder / _SETTINGS, name) if (folder / _SETTINGS).exists() else {}
    _check_end(tokenizer, folder, name, vocabulary, settings)
    found = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    if not set(found) - {tokenizer.unk_token_id}:
        raise UserError(f"model: {name}: its tokenizer makes no tokens of {_PROBE!r}; its files are not whole")
    return _beyond(tokenizer, name, vocabulary) + _beginning_unlike(tokenizer, name, settings)


def _check_end(tokenizer, folder: Path, name: str, vocabulary: int, settings: dict) -> None:
    """Raise UserError where what ends an answer is a token that the model has not, or never had.

    Of a name that no vocabulary has, transformers makes a new token: a row of the embeddings that was never trained.
    """
    end = end_tokens(tokenizer, folder)[0]
    if end >= vocabulary:
        told = f"its tokenizer's end of sequence, {tokenizer.eos_token}," if tokenizer.eos_token else "the end that "
        told += "" if tokenizer.eos_token else "generation_config.json names"
        raise UserError(f"model: {name}: {told} is token {end}, and the model has {vocabulary}")
    if tokenizer.eos_token is None or not (folder / _READ).is_file():
        return
    added = [token.get("content") for token in settings.get("added_tokens_decoder", {}).values()]
    files = [file for file in (_READ, "added_tokens.json") if (folder / file).is_file()]
    written = {json.dumps(tokenizer.eos_token, ensure_ascii=escaped) for escaped in (True, False)}
    if tokenizer.eos_token not in added and not any(
        one in (folder / file).read_text("utf-8") for one in written for file in files
    ):
        raise UserError(
            f"model: {name}: its tokenizer's end of sequence, {tokenizer.eos_token}, is in no vocabulary of its files, "
            f"so the model never saw it; name in {_SETTINGS} the one that it ends with"
        )


def _beginning_unlike(tokenizer, name: str, settings: dict) -> list[str]:
    """Return a warning where transformers puts a beginning before a text and its settings say none, or none and one.

    Beside a tokenizer.json, transformers 5 leaves out add_bos_token, by which earlier ones went.
    """
    said, begin = settings.get("add_bos_token"), tokenizer.bos_token_id
    is_there = begin in tokenizer(_PROBE)["input_ids"][:1]
    if begin is None or not isinstance(said, bool) or said == is_there:
        return []
    done = f"puts {tokenizer.bos_token} before a text" if is_there else f"puts no {tokenizer.bos_token} before a text"
    mend = "" if is_there else f"; begin data.template with {tokenizer.bos_token} where the model was trained so"
    return [
        f"{name}: {_SETTINGS} has add_bos_token {json.dumps(said)}, and transformers {transformers.__version__} "
        f"{done}, as {_READ} says{mend}"
    ]


def _beyond(tokenizer, name: str, vocabulary: int) -> list[str]:
    """Return a warning where added tokens lie beyond the embeddings' rows; UserError where words do."""
    added = tokenizer.get_added_vocab()
    beyond = {token: number for token, number in tokenizer.get_vocab().items() if number >= vocabulary}
    words = sorted(beyond.keys() - added.keys(), key=beyond.get)
    if words:
        raise UserError(
            f"model: {name}: its tokenizer has {len(tokenizer)} tokens and the model {vocabulary}: it lacks "
            f"{and_more(words)}; they are not of one model"
        )
    if beyond:
        told = and_more(sorted(beyond, key=beyond.get))
        return [f"{name}: its tokenizer adds {told}, of which the model has no embedding; no example may hold them"]
    return []
