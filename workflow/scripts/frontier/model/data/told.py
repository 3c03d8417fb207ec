"""What became of a source's rows: counts for the record, and the lines that tell them."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from frontier.data_types import FEW_EXAMPLES, ExampleCounts
from frontier.model.data.conversations import KEPT, LEFT_OUT


def counts_of(seen: Counter, found: Counter, not_taken: int) -> ExampleCounts:
    """Return the counts of the record: of rows as they were `seen` by readers, and `found` as they were split."""
    return {
        "forms": sorted(name.removeprefix("form ") for name in seen if name.startswith("form ")),
        "duplicates_left_out": found["duplicates_left_out"],
        "prompts_in_validation": found["prompts_in_validation"],
        "near_repeats": found["near_repeats"],
        "near_repeats_left_out": found["near_repeats_left_out"],
        "examples_not_taken": not_taken,
        "conversations": {name: seen[name] for name in (*LEFT_OUT, *KEPT) if seen[name]},
        "numbers_as_text": _named(seen, "number "),
        "fields_not_read": _named(seen, "field "),
        "input_not_read": bool(seen["input not read"]),
    }


def _named(seen: Counter, beginning: str) -> dict[str, int]:
    """Return the counts whose names have a beginning, by the rest of their names."""
    return {
        name.removeprefix(beginning): seen[name] for name in sorted(seen) if name.startswith(beginning) and seen[name]
    }


def lines(counts: Mapping[str, Any], train: int, validation: int, truths: str) -> list[str]:
    """Return the lines that tell what examples there are and what became of the others."""
    conversations = counts["conversations"]
    left_out = [
        (counts["duplicates_left_out"], "left out that repeat another"),
        (counts["prompts_in_validation"], "left out of training that ask what validation asks"),
        (counts["near_repeats_left_out"], "left out of validation that nearly repeat a training example"),
        *((conversations[name], f"left out: {words}") for name, words in LEFT_OUT.items() if name in conversations),
    ]
    told = [f"{count} {words}" for count, words in left_out[:1] + [one for one in left_out[1:] if one[0]]]
    told.append(f"{counts['examples_not_taken']} beyond those asked for")
    said = [f"examples: {train} to train on, {validation} to validate on; {', '.join(told)}; {truths}"]
    if counts["near_repeats"]:
        said.append(
            f"note: {counts['near_repeats']} of {validation} validation examples ask what a training example asks but "
            "for case, digits or punctuation; data.near_repeats: leave-out leaves them out"
        )
    kept = [f"{conversations[name]} {words}" for name, words in KEPT.items() if name in conversations]
    if kept:
        said.append(f"note: kept as they are: {', '.join(kept)}")
    if counts["numbers_as_text"]:
        columns = ", ".join(f"{count} of {name}" for name, count in counts["numbers_as_text"].items())
        said.append(f"note: numbers taken as their text: {columns}")
    if counts["fields_not_read"]:
        said.append(f"note: not read in messages: {', '.join(counts['fields_not_read'])}")
    if counts["input_not_read"]:
        said.append(
            "note: the rows have a column input beside instruction, which data.question_column leaves out; "
            "data.format: alpaca reads both"
        )
    if validation < FEW_EXAMPLES:
        said.append(
            f"warning: {validation} validation examples decide nothing; take {FEW_EXAMPLES} or more, better hundreds"
        )
    return said
