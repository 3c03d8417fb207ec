"""What became of a source's rows: counts for the record, and the lines that tell them."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from frontier.data_types import FEW_EXAMPLES, ExampleCounts
from frontier.model.data.conversations import KEPT, LEFT_OUT


def counts_of(seen: Counter, found: Counter, not_taken: int) -> ExampleCounts:
    """Return the counts of the record: of rows as they were `seen` by readers, and `found` as they were split."""
    return {
        "forms": [*_named(seen, "form ")],
        "other_forms": [*_named(seen, "other ")],
        "duplicates_left_out": found["duplicates_left_out"],
        "prompts_in_validation": found["prompts_in_validation"],
        "near_repeats": found["near_repeats"],
        "near_repeats_left_out": found["near_repeats_left_out"],
        "strata_not_validated": found["strata_not_validated"],
        "examples_not_taken": not_taken,
        "conversations": {name: seen[name] for name in (*LEFT_OUT, *KEPT) if seen[name]},
        "numbers_as_text": _named(seen, "number "),
        "fields_not_read": _named(seen, "field "),
        "input_not_read": bool(seen["input not read"]),
        "systems_not_read": seen["system_beside_message"],
    }


def _named(seen: Counter, beginning: str) -> dict[str, int]:
    """Return the counts whose names have a beginning, by the rest of their names."""
    return {
        name.removeprefix(beginning): seen[name] for name in sorted(seen) if name.startswith(beginning) and seen[name]
    }


def reasons(seen: Counter, found: Counter) -> str:
    """Return why rows that were read are no examples, in the words of a line that refuses what is left of them."""
    left_out = [
        (found["duplicates_left_out"], "repeat another"),
        (found["prompts_in_validation"], "ask what validation asks"),
        (found["near_repeats_left_out"], "nearly repeat a training example (data.near_repeats)"),
        *((seen[name], f"are {words}") for name, words in LEFT_OUT.items()),
    ]
    return ", ".join(f"{count} {words}" for count, words in left_out if count) or "none was left out"


def left_out(counts: Mapping[str, int]) -> list[str]:
    """Return what is said of conversations that are left out, by why, of those counts that are not 0."""
    return [f"{counts[name]} left out: {words}" for name, words in LEFT_OUT.items() if counts.get(name)]


def lines(counts: Mapping[str, Any], train: int, validation: int, truths: str) -> list[str]:
    """Return the lines that tell what examples there are and what became of the others."""
    conversations = counts["conversations"]
    others = [
        (counts["duplicates_left_out"], "left out that repeat another"),
        (counts["prompts_in_validation"], "left out of training that ask what validation asks"),
        (counts["near_repeats_left_out"], "left out of validation that nearly repeat a training example"),
    ]
    told = [f"{count} {words}" for count, words in others[:1] + [one for one in others[1:] if one[0]]]
    told += left_out(conversations)
    told.append(f"{counts['examples_not_taken']} beyond those asked for")
    said = [f"examples: {train} to train on, {validation} to validate on; {', '.join(told)}; {truths}"]
    if validation < FEW_EXAMPLES:
        few = f"warning: {validation} validation examples decide nothing; take {FEW_EXAMPLES} or more, better hundreds"
        return [*said, *_notes(counts, validation), few]
    return said + _notes(counts, validation)


def _notes(counts: Mapping[str, Any], validation: int) -> list[str]:
    """Return the lines of what was read otherwise than it stands there, or than somebody may think."""
    conversations, said = counts["conversations"], []
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
    if counts["systems_not_read"]:
        said.append(
            f"note: {counts['systems_not_read']} conversations have an instruction of their own; the column system is "
            "not read there"
        )
    if counts["other_forms"]:
        said.append(
            f"note: read as {' and '.join(counts['forms'])}; not read are the columns of other forms: "
            f"{', '.join(counts['other_forms'])}; data.format names a form"
        )
    if counts["strata_not_validated"]:
        said.append(
            f"note: {counts['strata_not_validated']} values of data.stratify_column are in too few rows to be validated"
        )
    if counts["input_not_read"]:
        said.append(
            "note: the rows have a column input beside instruction, which data.question_column leaves out; "
            "data.format: alpaca reads both"
        )
    return said
