"""The token ids of a prompt and of an answer: the one way in which training and accuracy make them."""

import re

from frontier.data_types import Example
from frontier.errors import UserError
from frontier.model.data.continuing import PROBES, Continuation, begins
from frontier.model.data.controls import Reader, encoded

_PLACE = "{question}"


class Encoder:
    """Turns questions and answers into token ids.

    A prompt is the beginning that the tokenizer puts before every text (none, or `<s>` say), once, and the template
    with the question in it. Nothing of the tokenizer's own follows the prompt. An answer is encoded apart from it, so
    that no token lies across the border and a prompt is the same with and without its answer. A control token is one
    where the template names it, and text where a question or an answer does.

    Ids are as the tokenizer has them; `inside` fits them to the model's embeddings.
    """

    kind = "text"

    def __init__(self, tokenizer, template: str, vocabulary: int, ends: tuple[int, ...], borrowed: bool = False):
        """Keep a tokenizer, a template, the number of the model's embeddings, and the ids that end an answer.

        The first of `ends` is put behind each answer. The ids of a `borrowed` tokenizer are another model's.
        """
        self.tokenizer, self.template, self.ends = tokenizer, template, ends
        self.vocabulary, self.borrowed = vocabulary, borrowed
        self.reader = Reader(tokenizer)
        self.beginning, self.behind = _put_around(tokenizer)
        self._safe_template = self.reader.with_stand_ins(template)
        self._continuation = Continuation(self.reader)

    def inside(self, ids: list[int]) -> list[int]:
        """Return ids that the model has embeddings for, as the function of that name does."""
        return inside(ids, self.tokenizer, self.vocabulary, self.borrowed)

    def prompt(self, example: Example) -> list[int]:
        """Return the token ids of an example's prompt."""
        return self.prompts([example["question"]])[0]

    def text(self, question: str) -> str:
        """Return a prompt's text, without the beginning that is the tokenizer's own."""
        return self.template.replace(_PLACE, question)

    def head(self) -> str:
        """Return the text of the template before the question, without space at its beginning."""
        return self.template.partition(_PLACE)[0].lstrip()

    def added_beginning(self) -> list[int]:
        """Return the ids that are put before the template: those of the tokenizer's with which it does not begin."""
        for index, token in enumerate(self.tokenizer.convert_ids_to_tokens(self.beginning)):
            if self.head().startswith(token):
                return self.beginning[:index]
        return self.beginning

    def prompts(self, questions: list[str]) -> list[list[int]]:
        """Return the token ids of each question's prompt."""
        beginning = self.added_beginning()
        return [beginning + ids for ids in self.joined(questions, [""] * len(questions))]

    def joined(self, questions: list[str], answers: list[str]) -> list[list[int]]:
        """Return the token ids of each prompt and its answer as one text, without what is the tokenizer's own."""
        pairs = [*zip(questions, answers, strict=True)]
        written = [self.text(question) + answer for question, answer in pairs]
        safe = [self._safe_template.replace(_PLACE, question) + answer for question, answer in pairs]
        return self.reader.ids(written, safe, self.reader.count(self.template))

    def answers(self, texts: list[str]) -> list[list[int]]:
        """Return the token ids of each answer as it goes on behind a prompt, without an end."""
        return self._continuation.ids(texts)

    def without_end(self, answer: str) -> str:
        """Return an answer without the ends of sequence that it names at its own end, and what space is behind them."""
        names = [re.escape(name) for name, token in self.reader.controls.items() if token in self.ends]
        return re.sub(rf"(?:(?:{'|'.join(names)})\s*)+\Z", "", answer) if names else answer


def inside(ids: list[int], tokenizer, vocabulary: int, borrowed: bool) -> list[int]:
    """Return ids that a model of so many embeddings has: a borrowed tokenizer's are taken modulo their number.

    Raises UserError where the model's own tokenizer has an id beyond them.
    """
    if borrowed:
        return [token % vocabulary for token in ids]
    beyond = next((token for token in ids if token >= vocabulary), None)
    if beyond is not None:
        raise UserError(
            f"model: its tokenizer has {tokenizer.convert_ids_to_tokens(beyond)} as token {beyond}, its "
            f"weights have {vocabulary} embeddings; use the tokenizer that the weights were trained with"
        )
    return ids


def _put_around(tokenizer) -> tuple[list[int], list[int]]:
    """Return the ids that a tokenizer puts before and behind every text."""
    for probe in PROBES:
        bare, whole = encoded(tokenizer, probe), tokenizer(probe)["input_ids"]
        for start in range(len(whole) - len(bare) + 1):
            if bare and begins(whole[start:], bare):
                return whole[:start], whole[start + len(bare) :]
    raise UserError("model: its tokenizer puts control tokens into a text, not around it, so no prompt can be made")
