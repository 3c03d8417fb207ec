"""The mark of an answer by its final number, as lm-evaluation-harness takes it out, and the share that is right.

The comparison is not the harness's: it compares texts, to which `8.0` is not `8`, and here numbers are compared.
"""

import math
from decimal import Decimal

from frontier.model.data import filters


def matches(extracted: str | None, truth: Decimal) -> bool:
    """Return whether an extracted text is the true number."""
    return filters.number(extracted) == truth


def accuracy(correct: list[bool]) -> tuple[float | None, float | None]:
    """Return the share that is correct and its standard error (the sample's deviation over the root of n), or None."""
    n = len(correct)
    if not n:
        return None, None
    share = sum(correct) / n
    return share, math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else None
