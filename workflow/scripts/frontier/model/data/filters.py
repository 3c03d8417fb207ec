"""What lm-evaluation-harness's task gsm8k (version 3.0) takes from a worked answer as its final number.

The harness's filters are followed to the letter, so that an accuracy can stand beside published ones. What an answer of
the data says is its truth's matter (`truths`), and judged more strictly.
"""

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
