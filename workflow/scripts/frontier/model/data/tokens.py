"""Examples as tokens: made by a tokenizer, kept in Parquet files."""

from collections import Counter

import pyarrow
from pyarrow import parquet

from frontier.data_types import Example
from frontier.model.data.differences import count_differences
from frontier.model.data.encoding import Encoder

# The label of a token that is not learned: torch's cross entropy leaves it out.
IGNORED = -100
_COUNTS = ("tokens", "answer_tokens", "tokens_cut_off", "examples_cut_off", "examples_left_out")


def tokenize(rows: list[Example], encoder: Encoder, max_length: int) -> tuple[list[dict], dict]:
    """Return each row as `input_ids` and `labels`, both lists of token ids, and the counts of token_types.

    The labels are the ids of the answer and of the end of sequence after it, and IGNORED on the prompt; a row that is a
    text has no prompt. An example longer than `max_length` tokens loses its end; one of which nothing that can be
    learned would be left is left out. Raises UserError where the model has no embedding of a token.
    """
    texts = ["text" in row for row in rows]
    asked = [{"question": "", "answer": row["text"]} if "text" in row else row for row in rows]
    prompts = encoder.prompts([row["question"] for row in asked])
    prompts = [encoder.beginning if text else prompt for text, prompt in zip(texts, prompts, strict=True)]
    answers = encoder.answers([encoder.without_end(row["answer"]) for row in asked])
    examples, counts = [], Counter(dict.fromkeys(_COUNTS, 0))
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = encoder.inside([*prompt, *answer, encoder.ends[0]])
        counts["tokens_cut_off"] += max(0, len(ids) - max_length)
        counts["examples_cut_off"] += len(ids) > max_length
        # Nothing predicts the first token of a sequence.
        unlearned = max(1, len(prompt))
        if min(len(ids), max_length) <= unlearned:
            counts["examples_left_out"] += 1
            continue
        labels = [IGNORED] * unlearned + ids[unlearned:]
        examples.append({"input_ids": ids[:max_length], "labels": labels[:max_length]})
    count_tokens(examples, counts)
    parted = [index for index, text in enumerate(texts) if not text]
    differing = count_differences(
        encoder, [asked[i] for i in parted], [prompts[i] for i in parted], [answers[i] for i in parted]
    )
    return examples, {name: counts[name] for name in ("examples", *_COUNTS)} | differing


def count_tokens(examples: list[dict], counts: Counter) -> None:
    """Count examples, their tokens, and those that are learned."""
    counts["examples"] = len(examples)
    counts["tokens"] = sum(len(example["input_ids"]) for example in examples)
    counts["answer_tokens"] = sum(label != IGNORED for example in examples for label in example["labels"])


def write_tokens(examples: list[dict], path: str) -> None:
    """Write examples of `input_ids` and `labels` as a Parquet file, one row an example."""
    parquet.write_table(pyarrow.Table.from_pylist(examples), path)


def load_tokens(path: str) -> list[dict]:
    """Return the examples that `write_tokens` wrote, as Python lists."""
    return parquet.read_table(path).to_pylist()
