"""Examples of the validation split that ask what a training example asks, but for case, digits or punctuation."""

import re
import unicodedata
from collections.abc import Iterable

from frontier.data_types import Example
from frontier.model.data.rows import words_of

# Letters and the marks on them; digits are no words, nor is the underscore.
_WORD = re.compile(r"[^\W\d_]+")


def near_repeats(validation: list[Example], train: Iterable[Example]) -> list[bool]:
    """Return for each example to validate on whether one to train on has the same words in the same order.

    Case, digits, punctuation and space make no difference, nor does the way in which Unicode writes a letter. An
    example without a word is none.
    """
    known = {key for one in train if (key := _words(one))}
    return [_words(one) in known for one in validation]


def _words(example: Example) -> tuple[str, ...]:
    text = unicodedata.normalize("NFKC", words_of(example)).casefold()
    return tuple(_WORD.findall(text))
