"""The final number of a worked answer, as lm-evaluation-harness's task gsm8k (version 3.0) takes it, and its worth.

Its filters are followed to the letter, so that an accuracy can stand beside published ones. What is compared is not
the text but the number: to the harness `8.0` is not `8`.
"""

import math
import re
from decimal import Decimal, InvalidOperation

_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_FLEXIBLE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")


def strict(text: str) -> str | None:
    """What follows the first `#### `, where it looks like a number (filter strict-match); None where nothing does."""
    found = _STRICT.search(text)
    return found[1] if found else None


def flexible(text: str) -> str | None:
    """The last thing that looks like a number (filter flexible-extract); None where nothing does."""
    found = _FLEXIBLE.findall(text)
    return found[-1] if found else None


def number(text: str | None) -> Decimal | None:
    """The number that an extracted text is, thousands separators, dollar signs and a final full stop aside."""
    if text is None:
        return None
    try:
        return Decimal(re.sub(r"[,$]", "", text).removesuffix("."))
    except InvalidOperation:
        return None


def matches(extracted: str | None, truth: Decimal) -> bool:
    return number(extracted) == truth


def accuracy(correct: list[bool]) -> tuple[float | None, float | None]:
    """The share that is correct and its standard error, the sample's deviation over the root of n; None for too few."""
    n = len(correct)
    if not n:
        return None, None
    share = sum(correct) / n
    return share, math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else None
