"""Which problems an accuracy asks, and where their answers end."""

from typing import NamedTuple

from frontier.data_types import Example
from frontier.model.data import truths
from frontier.model.data.chat import ChatEncoder
from frontier.model.data.encoding import Encoder
from frontier.model.data.rows import answer_of, words_of
from frontier.model.data.turns import Unrendered

AnyEncoder = Encoder | ChatEncoder


class Ends(NamedTuple):
    """Where an answer ends: before one of `tokens`, and before `text`, unless that is empty."""

    tokens: tuple[int, ...]
    text: str


def problems(rows: list[Example], encoder: AnyEncoder, max_length: int, limit: int | None) -> tuple[list[dict], dict]:
    """Return the first `limit` problems, as `question`, `truth` (Decimal), `prompt` (token ids), and counts.

    A problem is a row whose last answer has a truth and whose prompt, that of the training examples up to this answer,
    has less than `max_length` tokens. The counts are those of AccuracyOutcome, over all rows.
    """
    kept, too_long, unrendered = [], 0, 0
    for row in rows:
        truth = truths.truth(answer_of(row))
        if "text" in row or ("messages" in row and truth is None):
            continue
        try:
            prompt = encoder.inside(encoder.prompt(row))
        except Unrendered:
            unrendered += 1
            continue
        too_long += len(prompt) >= max_length
        if truth is not None and 0 < len(prompt) < max_length:
            kept.append({"question": words_of(row), "truth": truth, "prompt": prompt})
    counts = truths.count_truths(rows) | {"prompts_too_long": too_long, "prompts_unrendered": unrendered}
    return kept[:limit], counts


def ends_of(encoder: AnyEncoder) -> Ends:
    """Return where answers end: at an end of sequence, and where the template would begin once more.

    It begins with its text up to the question, or with its first control token if it has one there. A chat template's
    own end of a turn is one of the encoder's ends.
    """
    if isinstance(encoder, ChatEncoder):
        return Ends(encoder.ends, "")
    tokens, text = list(encoder.ends), encoder.head()
    while control := encoder.reader.first(text):
        name, token = control
        tokens.append(token)
        if not text.startswith(name) or token not in encoder.beginning:
            return Ends(tuple(tokens), "")
        text = text.removeprefix(name).lstrip()
    return Ends(tuple(tokens), text.strip())
