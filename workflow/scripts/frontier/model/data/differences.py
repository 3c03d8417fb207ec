"""Where the tokens of examples say something else than their text, or were kept from it: counts for the record."""

from collections import Counter

from frontier.model.data.encoding import Encoder

# What is counted, in the words of a printed line that follow the number.
WORDS = {
    "beginnings_in_template": "beginnings that the template has already, put once",
    "ends_not_added": "ends that the tokenizer would put behind a prompt, left out",
    "answers_with_end": "ends that answers named themselves, put once",
    "ends_within_answers": "answers that have an end of sequence within, at which accuracy stops",
    "control_tokens_as_text": "control tokens named in questions and answers, kept as text",
    "unknown_tokens": "tokens unknown to the tokenizer",
    "borders_kept": "borders of prompt and answer that a token would have crossed, kept",
    "texts_changed": "examples that read otherwise as tokens",
    "ids_folded": "tokens of a borrowed tokenizer, taken modulo the vocabulary",
}


def count_differences(
    encoder: Encoder, rows: list[dict[str, str]], prompts: list[list[int]], answers: list[list[int]]
) -> dict[str, int]:
    """Return the counts that WORDS names, over rows with the ids of their prompts and of their answers.

    `answers` are without an end, all ids as the tokenizer has them.
    """
    counts: Counter = Counter(dict.fromkeys(WORDS, 0))
    beginning = encoder.added_beginning()
    questions = [row["question"] for row in rows]
    ended = [encoder.without_end(row["answer"]) for row in rows]
    joined = encoder.joined(questions, ended)
    unknown = encoder.tokenizer.unk_token_id
    counts["beginnings_in_template"] = len(rows) * (len(beginning) < len(encoder.beginning))
    counts["ends_not_added"] = len(rows) * bool(encoder.behind)
    for row, answer, prompt, learned, whole in zip(rows, ended, prompts, answers, joined, strict=True):
        ids = prompt[len(beginning) :] + learned
        counts["answers_with_end"] += answer != row["answer"]
        counts["ends_within_answers"] += not set(encoder.ends).isdisjoint(learned)
        counts["control_tokens_as_text"] += sum(map(encoder.reader.count, (row["question"], answer)))
        counts["unknown_tokens"] += ids.count(unknown)
        counts["borders_kept"] += whole != ids
        counts["texts_changed"] += encoder.reader.decoded(ids) != encoder.text(row["question"]) + answer
        counts["ids_folded"] += encoder.borrowed and sum(token >= encoder.vocabulary for token in prompt + learned)
    return dict(counts)


def told(counts: dict[str, int]) -> str:
    """Return those counts of `count_differences` that are not 0, in the words of a printed line."""
    return "".join(f"; {counts[name]} {words}" for name, words in WORDS.items() if counts[name])
