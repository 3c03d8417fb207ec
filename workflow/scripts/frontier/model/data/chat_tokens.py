"""Conversations as tokens, none longer than a row may be and none without an assistant's token."""

from collections import Counter
from collections.abc import Callable

from frontier.data_types import Example
from frontier.errors import UserError
from frontier.model.data.chat import ChatEncoder, Rendered
from frontier.model.data.tokens import IGNORED, count_tokens
from frontier.model.data.turns import Unrendered

# What is counted of conversations, in the words of a printed line that follow the number.
WORDS = {
    "turns_left_out": "turns left out at their ends",
    "turns_untold": "examples left out in which the template drops an assistant's turn, or does not tell it apart",
    "template_raised": "examples left out for which the template raises",
    "turns_without_end": "turns that the template does not end",
    "parts_dropped": "parts of turns that the template drops, such as earlier thinking",
    "context_dropped": "messages, or sets of tools, that the template drops before an assistant's turn",
    "nothing_learned": "examples left out of which no turn is learned, by weight: 0",
    "borders_kept": "borders of a turn that a token would have crossed, kept",
}
_COUNTS = ("examples", "tokens", "answer_tokens", "tokens_cut_off", "examples_cut_off", "examples_left_out", *WORDS)
# The most examples, as a share, that may be left out because of the template.
_MOST_REFUSED = 0.05


def tokenize_chats(
    rows: list[Example], encoder: ChatEncoder, max_length: int, learned: str, where: Callable[[int], str]
) -> tuple[list[dict], dict]:
    """Return each conversation as `input_ids` and `labels`, and the counts of token_types.

    The labels are the ids of what an assistant says, the ends of its turns included, and IGNORED elsewhere; `learned`
    is `all` of its turns or the `last`. Of a conversation longer than `max_length` tokens whole turns are left out at
    its end, up to an assistant's that is left; one of which none is left is left out. Raises UserError where the
    template leaves out much, naming the place of the first such example, which `where` returns for its index.
    """
    counts: Counter = Counter(dict.fromkeys(_COUNTS, 0))
    examples: list[dict] = []
    refused: list[tuple[int, str]] = []
    for index, row in enumerate(rows):
        try:
            rendered = _fitting(row, encoder, max_length, learned, counts)
        except Unrendered as error:
            counts["template_raised"] += 1
            refused.append((index, f"the template raises: {error}"))
            continue
        if rendered is None:
            counts["examples_left_out"] += 1
        elif not rendered.is_proved:
            counts["turns_untold"] += 1
            refused.append((index, "the template drops an assistant's turn, or does not tell it apart"))
        else:
            ids = encoder.inside(rendered.ids)
            # Nothing predicts the first token of a sequence.
            learns = [False, *rendered.is_learned[1:]]
            labels = [token if is_learned else IGNORED for token, is_learned in zip(ids, learns, strict=True)]
            examples.append({"input_ids": ids, "labels": labels})
    if len(refused) > _MOST_REFUSED * len(rows):
        index, reason = refused[0]
        raise UserError(
            f"data.template: the chat template leaves out {len(refused)} of {len(rows)} examples ({where(index)}: "
            f"{reason}); mend or leave out such rows, or put another chat_template.jinja beside the tokenizer"
        )
    count_tokens(examples, counts)
    return examples, dict(counts)


def told(counts: dict[str, int]) -> str:
    """Return those counts of `tokenize_chats` that are not 0, in the words of a printed line."""
    return "".join(f"; {counts[name]} {words}" for name, words in WORDS.items() if counts[name])


def _fitting(row: Example, encoder: ChatEncoder, max_length: int, learned: str, counts: Counter) -> Rendered | None:
    """Return the longest beginning of a conversation that is no longer than `max_length`; None where there is none.

    One whose turns cannot be told apart is returned as it is.
    """
    own: Counter = Counter()
    rendered = encoder.encode(row, learned, own)
    if not rendered.is_proved:
        return rendered
    length = len(rendered.ids)
    if length > max_length:
        counts["examples_cut_off"] += 1
        found = _shortened(row, encoder, max_length, learned)
        counts["tokens_cut_off"] += length - (len(found[1].ids) if found else 0)
        if found is None:
            return None
        row, rendered, own = found
    if not rendered.is_proved:
        return rendered
    if not any(rendered.is_learned[1:]):
        counts["nothing_learned"] += 1
        return None
    own["borders_kept"] += encoder.whole(row) != rendered.ids
    counts.update(own)
    return rendered


def _shortened(
    row: Example, encoder: ChatEncoder, max_length: int, learned: str
) -> tuple[Example, Rendered, Counter] | None:
    """Return the longest beginning of a conversation that fits and ends with an assistant's turn, with its counts.

    None where none fits.
    """
    messages = row.get("messages", [])
    places = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    for place in reversed(places):
        left_out = len(messages) - place - 1
        shorter, counts = row | {"messages": messages[: place + 1]}, Counter(turns_left_out=left_out)
        rendered = encoder.encode(shorter, learned, counts)
        if left_out and len(rendered.ids) <= max_length:
            return shorter, rendered, counts
    return None
