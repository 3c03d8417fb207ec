"""Examples as tokens: made by a tokenizer, kept in Parquet files."""

from collections import Counter

import pyarrow
from pyarrow import parquet

# The label of a token that is not learned: torch's cross entropy leaves it out.
IGNORED = -100
_COUNTS = ("tokens", "answer_tokens", "tokens_cut_off", "examples_cut_off", "examples_left_out")


def tokenize(rows: list[dict], tokenizer, template: str, max_length: int, vocabulary: int) -> tuple[list[dict], dict]:
    """Return each row as `input_ids` and `labels`, both lists of token ids, and counts of what was cut off.

    The labels are the ids of the answer and of the end of sequence after it, and IGNORED on the prompt. An example
    longer than `max_length` tokens loses its end; one whose answer would be lost whole is left out. Ids are taken
    modulo `vocabulary`, which changes them only for a borrowed tokenizer.
    """
    examples, counts = [], Counter()
    for row in rows:
        prompt, answer = _prompt_and_answer(row, tokenizer, template)
        ids = [token % vocabulary for token in prompt + answer]
        counts["tokens_cut_off"] += max(0, len(ids) - max_length)
        counts["examples_cut_off"] += len(ids) > max_length
        if len(prompt) >= max_length:
            counts["examples_left_out"] += 1
            continue
        labels = [IGNORED] * len(prompt) + ids[len(prompt) :]
        if not prompt:
            # Nothing predicts the first token of a sequence.
            labels[0] = IGNORED
        example = {"input_ids": ids[:max_length], "labels": labels[:max_length]}
        counts["answer_tokens"] += sum(label != IGNORED for label in example["labels"])
        counts["tokens"] += len(example["input_ids"])
        examples.append(example)
    return examples, {"examples": len(examples)} | {name: counts[name] for name in _COUNTS}


def write_tokens(examples: list[dict], path: str) -> None:
    """Write examples of `input_ids` and `labels` as a Parquet file, one row an example."""
    parquet.write_table(pyarrow.Table.from_pylist(examples), path)


def load_tokens(path: str) -> list[dict]:
    """Return the examples that `write_tokens` wrote, as Python lists."""
    return parquet.read_table(path).to_pylist()


def _prompt_and_answer(row: dict, tokenizer, template: str) -> tuple[list[int], list[int]]:
    """Return the token ids of prompt and answer, tokenised apart so that the border between them is exact."""
    prompt = tokenizer(template.replace("{question}", row["question"]))["input_ids"]
    answer = tokenizer(row["answer"], add_special_tokens=False)["input_ids"]
    return prompt, [*answer, tokenizer.eos_token_id]
