"""The final number of a worked answer, as lm-evaluation-harness's task gsm8k (version 3.0) extracts it, and its mark.

The harness's filters are followed to the letter, so that an accuracy can stand beside published ones. The comparison is
not the harness's: it compares texts, to which `8.0` is not `8`, and here numbers are compared.
"""

import math
import re
from decimal import Decimal, InvalidOperation

# The regular expressions of the harness's filters strict-match and flexible-extract (lm_eval/tasks/gsm8k/gsm8k.yaml).
_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_FLEXIBLE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")


def strict(text: str) -> str | None:
    """Return what looks like a number after the first `#### ` (filter strict-match); None where nothing does."""
    found = _STRICT.search(text)
    return found[1] if found else None


def flexible(text: str) -> str | None:
    """Return the last thing that looks like a number (filter flexible-extract); None where nothing does."""
    found = _FLEXIBLE.findall(text)
    return found[-1] if found else None


def number(text: str | None) -> Decimal | None:
    """Return the number that an extracted text is, without separators, dollar signs and a final full stop, or None."""
    if text is None:
        return None
    try:
        return Decimal(re.sub(r"[,$]", "", text).removesuffix("."))
    except InvalidOperation:
        return None


def matches(extracted: str | None, truth: Decimal) -> bool:
    """Return whether an extracted text is the true number."""
    return number(extracted) == truth


def accuracy(correct: list[bool]) -> tuple[float | None, float | None]:
    """Return the share that is correct and its standard error (the sample's deviation over the root of n), or None."""
    n = len(correct)
    if not n:
        return None, None
    share = sum(correct) / n
    return share, math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else None
