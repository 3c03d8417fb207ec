"""Conversations as token ids, by the tokenizer's own chat template, and which of these an assistant says."""

import itertools
from collections import Counter
from typing import NamedTuple

from frontier.data_types import Example, Message
from frontier.errors import UserError, first_line
from frontier.model.data.continuing import Continuation
from frontier.model.data.controls import Reader
from frontier.model.data.encoding import inside
from frontier.model.data.rows import in_form_of
from frontier.model.data.turns import Renderer, Turn, Unrendered, find_turn, is_dropped, shared_beginning


class Rendered(NamedTuple):
    """A conversation as token ids, whether each is learned, and whether all turns could be told apart."""

    ids: list[int]
    is_learned: list[bool]
    is_proved: bool


class ChatEncoder:
    """Turns conversations into token ids by a chat template.

    What an assistant says is encoded apart from what it is asked, as it is at inference: no token lies across that
    border. A control token is one where the template names it, and text where a message does. Ids are as the tokenizer
    has them.
    """

    kind = "chat"

    def __init__(self, tokenizer, vocabulary: int, ends: tuple[int, ...], borrowed: bool = False):
        """Keep a tokenizer, which has a chat template, the number of embeddings, and the ids that end an answer.

        What ends an assistant's turn in the template ends an answer too. The ids of a `borrowed` tokenizer are another
        model's.
        """
        self.tokenizer, self.template = tokenizer, tokenizer.get_chat_template()
        self.vocabulary, self.borrowed = vocabulary, borrowed
        self.reader = Reader(tokenizer)
        self._continuation = Continuation(self.reader)
        self.ends = tuple(dict.fromkeys([*ends, *self._end_of_a_turn()]))

    def encode(self, example: Example, learned: str, counts: Counter) -> Rendered:
        """Return an example as ids, of which the assistant's turns are learned: `all`, or the `last`.

        `counts` is told of turns without an end, and of what the template drops, of assistants' turns and of what they
        answer. Raises Unrendered where the template does.
        """
        messages, renderer = self._messages(example), self._renderer_of(example.get("tools"))
        text = renderer.text(messages, False)
        places = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
        turns: list[Turn] = []
        is_proved = True
        for place in places if learned == "all" else places[-1:]:
            turn = find_turn(renderer, messages, place, text, turns[-1].end if turns else 0)
            is_proved = is_proved and turn is not None
            if turn is None or messages[place].get("weight") == 0:
                continue
            counts["turns_without_end"] += not turn.is_ended
            counts["parts_dropped"] += len(turn.dropped)
            turns.append(turn)
        counts["context_dropped"] += self._context_dropped(renderer, messages, example.get("tools"), text)
        return self._encoded(text, turns, is_proved)

    def _context_dropped(self, renderer: Renderer, messages: list[Message], tools: list[dict] | None, text: str) -> int:
        """Return how many messages that are no assistant's, tools being one more, stand nowhere in the text."""
        others = [place for place, message in enumerate(messages) if message["role"] != "assistant"]
        dropped = sum(is_dropped(renderer, messages, place, text) for place in others)
        try:
            return dropped + (bool(tools) and self._renderer_of(None).text(messages, False) == text)
        except Unrendered:
            # Without tools the template takes no such messages.
            return dropped

    def prompt(self, example: Example) -> list[int]:
        """Return the ids of what asks for an example's last answer: all turns before it, and the header of its own."""
        messages = self._messages(example)
        text = self._renderer_of(example.get("tools")).text(messages[:-1], True)
        return self.reader.rendered(text)

    def whole(self, example: Example) -> list[int]:
        """Return the ids of an example's text, encoded as one."""
        text = self._renderer_of(example.get("tools")).text(self._messages(example), False)
        return self.reader.rendered(text)

    def inside(self, ids: list[int]) -> list[int]:
        """Return ids that the model has embeddings for, as the function of that name does."""
        return inside(ids, self.tokenizer, self.vocabulary, self.borrowed)

    def _encoded(self, text: str, turns: list[Turn], is_proved: bool) -> Rendered:
        borders = [0, *(border for turn in turns for border in (turn.start, turn.end)), len(text)]
        pieces = [text[start:end] for start, end in itertools.pairwise(borders)]
        first, *rest = pieces
        ids = [self.reader.rendered(first), *self._continuation.rendered(rest)]
        learned = [[number % 2 == 1] * len(some) for number, some in enumerate(ids)]
        # What is learned must say the assistant's words, unless the tokenizer changes what any text says.
        says = all(self._says(some, piece) for some, piece in zip(ids[1::2], pieces[1::2], strict=True))
        is_proved = is_proved and (says or not self._says(self.reader.rendered(text), text))
        return Rendered([*itertools.chain(*ids)], [*itertools.chain(*learned)], is_proved)

    def _says(self, ids: list[int], text: str) -> bool:
        return self.reader.decoded(ids).strip() == self.reader.written(text).strip()

    def _messages(self, example: Example) -> list[Message]:
        """Return an example's messages as templates take them, in whose texts names of control tokens are marked."""
        messages = [self._marked(message) for message in in_form_of({"messages": []}, example)["messages"]]
        # Templates differ in what they call thinking.
        return [
            message | ({"thinking": message["reasoning_content"]} if "reasoning_content" in message else {})
            for message in messages
        ]

    def _marked(self, value):
        if isinstance(value, str):
            return self.reader.named(value)
        if isinstance(value, dict):
            return {key: self._marked(item) for key, item in value.items()}
        return [self._marked(item) for item in value] if isinstance(value, list) else value

    def _renderer_of(self, tools: list[dict] | None) -> Renderer:
        def text(messages: list[Message], asks: bool) -> str:
            try:
                return self.tokenizer.apply_chat_template(
                    messages, tools=tools, tokenize=False, add_generation_prompt=asks
                )
            # A template fails in whatever way its author, or Jinja, likes.
            except Exception as error:
                raise Unrendered(first_line(error) or type(error).__name__) from error

        asker: list[Message] = [{"role": "user", "content": "a"}]
        told, asked = text(asker, False), text(asker, True)

        def first_control(text: str, start: int) -> int | None:
            found = self.reader.place(text, start)
            return found[1] if found else None

        header = asked[shared_beginning(told, asked) :]
        return Renderer(text, header, self._least(header), first_control)

    def _least(self, header: str) -> int:
        """Return how much of a turn's header names the role: up to its first token of one piece, or its first line."""
        added = [str(token) for token in self.tokenizer.added_tokens_decoder.values()]
        named = [header.index(token) + len(token) for token in added if token.strip() and token in header]
        return min(named, default=len(header.partition("\n")[0]) + 1 if "\n" in header else len(header))

    def _end_of_a_turn(self) -> list[int]:
        """Return the control token that ends a turn, if one does; UserError where the template takes no question."""
        example = {"question": "a", "answer": "b"}
        try:
            rendered = self.encode(example, "all", Counter())
        except Unrendered as error:
            raise UserError(
                f"data.template: the tokenizer's chat template takes no question and answer ({error}); put another "
                "chat_template.jinja beside it, or give a text for questions and answers"
            ) from error
        last = max((place for place, learned in enumerate(rendered.is_learned) if learned), default=None)
        controls = set(self.reader.controls.values())
        return [rendered.ids[last]] if last is not None and rendered.ids[last] in controls else []
