"""The tokenizer in a model's folder, opened and tried: whether it makes tokens of text, and such as the model has."""

from pathlib import Path

from frontier.errors import UserError
from frontier.model.files import and_more
from frontier.model.tokenizer import end_tokens, open_tokenizer

# What a tokenizer must make tokens of: words, numbers, signs, as the examples have them.
_PROBE = "Question: 12 + 3 = 15?"
# A tokenizer in the form that is read here, and in the form that needs libraries which are not.
_READ, _SENTENCEPIECE = "tokenizer.json", "tokenizer.model"


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
    end_tokens(tokenizer, folder)
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id >= vocabulary:
        raise UserError(
            f"model: {name}: its tokenizer's end of sequence, {tokenizer.eos_token}, is token "
            f"{tokenizer.eos_token_id}, and the model has {vocabulary}"
        )
    found = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    if not set(found) - {tokenizer.unk_token_id}:
        raise UserError(f"model: {name}: its tokenizer makes no tokens of {_PROBE!r}; its files are not whole")
    return _beyond(tokenizer, name, vocabulary)


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
