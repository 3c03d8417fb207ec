"""The split of examples into those that train and those that validate, without a question in both."""

from collections.abc import Collection

from frontier.errors import UserError

# The share of a source's examples, or of its templates, that validates where the source has no split of its own.
VALIDATION_SHARE = 0.2


def hold_out(rows: list[dict], wanted: int | None) -> tuple[list[dict], list[dict]]:
    """Return the rows to train on and the rows to validate on: the last `wanted`, or the last fifth.

    Raises UserError where one of the two would be empty.
    """
    if len(rows) < 2:
        raise UserError(f"data: got {len(rows)} row(s), takes two at least where some are held out for validation")
    size = wanted or int(len(rows) * VALIDATION_SHARE)
    if not 0 < size < len(rows):
        raise UserError(
            f"data.validation_examples: got {wanted or 'nothing'}, takes 1 to {len(rows) - 1} of "
            f"the {len(rows)} rows there are, or nothing for a fifth of five or more"
        )
    return rows[:-size], rows[-size:]


def without_repeats(rows: list[dict], known: Collection[str] = ()) -> list[dict]:
    """Return the rows, in their order, whose question is neither in `known` nor in an earlier row."""
    seen = set(known)
    kept = []
    for row in rows:
        if row["question"] not in seen:
            seen.add(row["question"])
            kept.append(row)
    return kept


def questions(rows: list[dict]) -> set[str]:
    """Return the rows' questions."""
    return {row["question"] for row in rows}
