"""Examples of the validation split that ask what a training example asks, but for case, digits or punctuation."""

import unicodedata
from collections.abc import Iterable

import regex

from frontier.data_types import Example
from frontier.model.data.rows import words_of

# All but letters and the marks on them, which write the vowels of some languages; re of Python knows no marks.
_NO_LETTER = regex.compile(r"[^\p{L}\p{M}]+")


def near_repeats(validation: list[Example], train: Iterable[Example]) -> list[bool]:
    """Return for each example to validate on whether one to train on has the same letters in the same order.

    Case, digits, punctuation and space make no difference, nor does the way in which Unicode writes a letter. An
    example without a letter is none.
    """
    known = {key for one in train if (key := _letters(one))}
    return [_letters(one) in known for one in validation]


def _letters(example: Example) -> str:
    return _NO_LETTER.sub("", unicodedata.normalize("NFKC", words_of(example)).casefold())
