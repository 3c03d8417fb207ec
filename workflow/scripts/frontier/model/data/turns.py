"""Where a conversation's turns of an assistant stand in the text that a chat template makes of it.

Templates are programs: they drop earlier thinking, move words, and end the last turn otherwise than the others, so that
the text of a part of a conversation need not be a part of the whole one's. Therefore each turn is found within the
whole text: rendered once more with a mark in the turn's place, the text differs there and nowhere else. From the first
character that differs back to the end of the header that asks for a turn, and on to the control token that ends it, is
what the model itself says.
"""

from collections.abc import Callable
from typing import NamedTuple

from frontier.data_types import Message

# A private character of Unicode, which no text of a conversation has.
_MARK = "\ue0f6"


class Turn(NamedTuple):
    """A turn of an assistant in a text: where it begins and ends, whether a control token ends it, what was dropped.

    `dropped` names parts of the message that the template leaves out, such as earlier thinking.
    """

    start: int
    end: int
    is_ended: bool
    dropped: tuple[str, ...]


class Unrendered(Exception):
    """A chat template raises for a conversation; its message says what it takes."""


class Renderer(NamedTuple):
    """A chat template: `text(messages, asks)` renders messages, with the header of a turn behind them where it `asks`.

    `header` is that header, of a turn that answers a user; its first `least` characters name the role, and what follows
    may be missing in earlier turns. `first_control(text, start)` is where the first control token from a place on ends;
    None where there is none.
    """

    text: Callable[[list[Message], bool], str]
    header: str
    least: int
    first_control: Callable[[str, int], int | None]


def find_turn(renderer: Renderer, messages: list[Message], place: int, whole: str, after: int) -> Turn | None:
    """Return the turn of the message at a place; None where the text does not tell it apart from what is around it.

    `whole` is the text of all messages, `after` where the turn before ends in it.
    """
    message = messages[place]
    other = _with_mark(renderer, messages, place)
    first = shared_beginning(whole, other)
    most = min(len(whole), len(other)) - first
    behind = min(most, shared_beginning(whole[::-1], other[::-1]))
    last = len(whole) - behind
    start = _behind_header(renderer, messages[:place], whole, after, first)
    if start is None or whole == other:
        return None
    end = renderer.first_control(whole, last)
    if end is not None and end > _next_words(renderer, messages, place, whole):
        end = None
    # Without a control token behind it, a turn ends with its words.
    dropped = _dropped(message, whole[start : end or last])
    return None if dropped is None else Turn(start, end or last, end is not None, dropped)


def is_dropped(renderer: Renderer, messages: list[Message], place: int, whole: str) -> bool:
    """Return whether the words of the message at a place stand nowhere in the text of all messages."""
    words = messages[place]["content"].strip()
    if not words or words in whole:
        return False
    try:
        # Words that do not stand there as they are may be quoted, as some templates do with what a tool returns.
        return _with_mark(renderer, messages, place) == whole
    except Unrendered:
        return False


def _behind_header(renderer: Renderer, before: list[Message], whole: str, after: int, first: int) -> int | None:
    """Return where the header of a turn ends that begins at or before `first`; None where it is not there."""
    asked = _asked(renderer, before)
    if asked is not None and after <= len(asked) <= first and whole.startswith(asked):
        return len(asked)
    header = renderer.header
    if not header:
        return first
    # A header may go on with what an earlier turn does not have, such as the beginning of thinking.
    for length in range(len(header), renderer.least - 1, -1):
        found = whole.rfind(header[:length], after, first)
        if found >= 0:
            return found + length
    return None


def _next_words(renderer: Renderer, messages: list[Message], place: int, whole: str) -> int:
    """Return where the next words of a message behind a place begin in a text; its end where none has words there."""
    for later in range(place + 1, len(messages)):
        other = _with_mark(renderer, messages, later)
        if other != whole:
            return shared_beginning(whole, other)
    return len(whole)


def _with_mark(renderer: Renderer, messages: list[Message], place: int) -> str:
    return renderer.text([*messages[:place], _marked(messages[place]), *messages[place + 1 :]], False)


def shared_beginning(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    alike, most = 0, min(len(one), len(other))
    while alike < most:
        middle = (alike + most + 1) // 2
        if one[alike:middle] == other[alike:middle]:
            alike = middle
        else:
            most = middle - 1
    return alike


def _asked(renderer: Renderer, before: list[Message]) -> str | None:
    """Return the text that asks for a turn behind others; None where the template takes no such part of a whole."""
    try:
        return renderer.text(before, True) if before else None
    except Unrendered:
        return None


def _marked(message: Message) -> Message:
    """Return the message with a mark in place of its words, its thinking, and the arguments of its calls."""
    marked = dict(message)
    for part in ("content", "reasoning_content", "thinking"):
        if message.get(part, "").strip():
            marked[part] = _MARK
    if message.get("tool_calls"):
        marked["tool_calls"] = [
            call | {"function": call["function"] | {"arguments": {_MARK: _MARK}}} for call in message["tool_calls"]
        ]
    return marked


def _dropped(message: Message, said: str) -> tuple[str, ...] | None:
    """Return the parts of a message that a turn does not say; None where it says none of them, so that it is no turn.

    A part counts as said where all of its text stands in the turn but for space around it; thinking that stands within
    the words may stand elsewhere or nowhere in the turn.
    """
    parts = {
        "content": message["content"].rpartition("</think>")[2],
        "reasoning_content": message.get("reasoning_content", ""),
        **{f"tool_calls[{i}]": call["function"]["name"] for i, call in enumerate(message.get("tool_calls", []))},
    }
    there = {name: text.strip() in said for name, text in parts.items() if text.strip()}
    if not any(there.values()):
        return None
    return tuple(name for name, is_there in there.items() if not is_there)
