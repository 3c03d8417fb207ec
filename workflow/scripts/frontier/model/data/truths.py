"""The truth of an example: the number that its answer ends in, by one rule, whoever asks.

The rule: what stands after the last `####`, to the end of the answer, must be a number and nothing else. Spaces around
it do not count, nor does a control token at the end such as `</s>`; what stands in angle brackets there is taken for
one, so that `5 <kg>` is 5. A number is written in the digits 0 to 9, whole or with a decimal point; commas part all of
its thousands or none. A number of which they do begins with no 0, or it would be one whose comma is a decimal point
(`0,125`). A sign and a dollar sign may stand before it, and a full stop behind it. The sign may be any of Unicode's
short dashes.

So `1,234.50`, `-$5`, `−5` and `18.` are numbers. Left out are fractions, times, units, powers, and thousands or
decimals in another notation: of these a reader, or a filter, could take another number.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from frontier.data_types import Example
from frontier.model.data import filters
from frontier.model.data.rows import answer_of

_MARK = "####"
# U+2010 to U+2013 (hyphens and dashes), the minus sign, and the small and full-width forms of `-`.
_MINUS = "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"
_DASHES = str.maketrans(dict.fromkeys(_MINUS, "-"))
# Names of control tokens, which some data have at the end of each answer.
_ENDS = re.compile(r"(\s*<[^<>\s]+>)+\s*\Z")
_WHOLE = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)"
_NUMBER = re.compile(rf"(?:[-+]?\$?|\$[-+])(?P<digits>{_WHOLE}(?:\.[0-9]+)?|\.[0-9]+)\.?")


def truth(answer: str) -> Decimal | None:
    """Return the number that a worked answer ends in, or None where it ends in none."""
    if _MARK not in answer:
        return None
    final = answer.rpartition(_MARK)[2]
    text = _ENDS.sub("", final).strip().translate(_DASHES)
    found = _NUMBER.fullmatch(text)
    if not found:
        return None
    value = Decimal(found["digits"].replace(",", ""))
    return -value if "-" in text else value


def count_truths(examples: list[Example]) -> dict[str, int]:
    """Return how many examples have no truth, and how many have another for lm-evaluation-harness's strict filter.

    To that filter an answer without truth may have one, as `#### 3/4` has 3, and an answer with one may have none.
    """
    truths = [truth(answer_of(one)) for one in examples]
    read = [filters.number(filters.strict(answer_of(one))) for one in examples]
    return {
        "answers_without_final": truths.count(None),
        "finals_read_otherwise": sum(mine != its for mine, its in zip(truths, read, strict=True)),
    }


def nothing_to_mark(split: str, rows: int) -> str:
    """Return the line for a split of which no answer can be marked; it names the key that asks for an accuracy."""
    return (
        f"accuracy.measure: none of the {rows} {split} answers ends in #### and a number, so none can be marked; set "
        "it to false, or end answers so"
    )


def told(counts: Mapping[str, Any]) -> str:
    """Return the counts of `count_truths` in the words of a printed line."""
    return (
        f"{counts['answers_without_final']} without a final number after ####, "
        f"{counts['finals_read_otherwise']} with one that lm-evaluation-harness's filter reads otherwise"
    )
