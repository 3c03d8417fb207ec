"""Questions with worked answers: read from a source, checked, split, and turned into tokens."""

import json
import random
import re
from collections import Counter
from pathlib import Path

import pyarrow
import pyarrow.parquet as parquet

from frontier import errors
from frontier.errors import UserError

IGNORED = -100
FINAL_ANSWER = re.compile(r"####\s*\S")
_VALIDATION_SHARE = 0.2


def read_examples(data: dict) -> tuple[dict[str, list[dict]], dict]:
    """The split of a config's `data` section: {"train": [...], "validation": [...]} of question and answer, and counts.

    Rows that cannot be used raise UserError with file and line, or are counted: a question met before and a training
    question that also stands in validation are left out. The split is a function of the data section alone.
    """
    splits = _READERS[data["source"]](data)
    counts: Counter = Counter()
    held_out = _distinct(splits["validation"], set(), counts)
    train = _distinct(splits["train"], {row["question"] for row in held_out}, counts)
    for name, rows, wanted in (
        ("train", train, data["train_examples"]),
        ("validation", held_out, data["validation_examples"]),
    ):
        if not rows:
            raise UserError(
                f"data: no {name} example is left of {len(splits['train'])} rows to train on and "
                f"{len(splits['validation'])} to validate on; {counts['duplicates']} repeat a question"
            )
        if wanted is not None and len(rows) < wanted:
            raise UserError(f"data.{name}_examples: got {wanted}, takes at most the {len(rows)} there are")
    result = {"train": train[: data["train_examples"]], "validation": held_out[: data["validation_examples"]]}
    without = sum(not FINAL_ANSWER.search(row["answer"]) for rows in result.values() for row in rows)
    return result, {"duplicates_left_out": counts["duplicates"], "answers_without_final": without}


def read_test(data: dict) -> list[dict]:
    """The rows of the test split that a config's `data` section names, in file order."""
    if data["source"] == "hub":
        return _hub_split(data, data["test_split"])
    return read_lines(data["test_file"], data["question_column"], data["answer_column"])


def tokenize(rows: list[dict], tokenizer, template: str, max_length: int, vocabulary: int) -> tuple[list[dict], dict]:
    """Each row as `input_ids` and `labels` (-100 on the prompt), the end of sequence included; and what was cut off.

    Prompt and answer are tokenised apart, so that the border between them is exact. An example longer than
    `max_length` tokens loses its end; one whose answer would be lost whole is left out. Ids are taken modulo
    `vocabulary`, which changes them only for a borrowed tokenizer.
    """
    examples, counts = [], Counter()
    for row in rows:
        prompt = tokenizer(template.replace("{question}", row["question"]))["input_ids"]
        answer = tokenizer(row["answer"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        ids = [token % vocabulary for token in prompt + answer]
        counts["tokens_cut_off"] += max(0, len(ids) - max_length)
        counts["examples_cut_off"] += len(ids) > max_length
        if len(prompt) >= max_length:
            counts["examples_left_out"] += 1
            continue
        labels = [IGNORED] * len(prompt) + ids[len(prompt) :]
        if not prompt:
            labels[0] = IGNORED
        examples.append({"input_ids": ids[:max_length], "labels": labels[:max_length]})
        counts["answer_tokens"] += sum(label != IGNORED for label in examples[-1]["labels"])
        counts["tokens"] += len(examples[-1]["input_ids"])
    names = ("tokens", "answer_tokens", "tokens_cut_off", "examples_cut_off", "examples_left_out")
    return examples, {"examples": len(examples)} | {name: counts[name] for name in names}


def write_tokens(examples: list[dict], path: str) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(examples), path)


def load_tokens(path: str) -> list[dict]:
    """The examples that `write_tokens` wrote, as Python lists."""
    return parquet.read_table(path).to_pylist()


def write_lines(rows: list[dict], path: str) -> None:
    Path(path).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_lines(path: str, question_column: str = "question", answer_column: str = "answer") -> list[dict]:
    """JSON lines as rows of question and answer; a malformed one raises UserError naming file and line."""
    rows = []
    for number, line in enumerate(Path(path).read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError:
            raise UserError(f"{path}:{number}: not UTF-8") from None
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{number}: not JSON ({error.msg}, column {error.colno})") from None
        rows.append(_example(row, question_column, answer_column, f"{path}:{number}"))
    return rows


def _example(row, question_column: str, answer_column: str, where: str) -> dict:
    if not isinstance(row, dict):
        kind = type(row).__name__
        raise UserError(f"{where}: takes an object with {question_column} and {answer_column}, got {kind}")
    for column in (question_column, answer_column):
        value = row.get(column)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{where}: {column} takes a text that is not empty, got {json.dumps(value)}")
    return {"question": row[question_column], "answer": row[answer_column]}


def _distinct(rows: list[dict], taken: set[str], counts: Counter) -> list[dict]:
    kept = []
    for row in rows:
        if row["question"] in taken:
            counts["duplicates"] += 1
        else:
            taken.add(row["question"])
            kept.append(row)
    return kept


def _hold_out(rows: list[dict], data: dict) -> dict[str, list[dict]]:
    """The last rows of a training split as validation, where the source has none of its own."""
    if len(rows) < 2:
        raise UserError(f"data: got {len(rows)} row(s), takes two at least where some are held out for validation")
    size = data["validation_examples"] or int(len(rows) * _VALIDATION_SHARE)
    if not 0 < size < len(rows):
        raise UserError(
            f"data.validation_examples: got {data['validation_examples'] or 'nothing'}, takes 1 to {len(rows) - 1} of "
            f"the {len(rows)} rows there are, or nothing for a fifth of five or more"
        )
    return {"train": rows[:-size], "validation": rows[-size:]}


def _read_jsonl(data: dict) -> dict[str, list[dict]]:
    columns = data["question_column"], data["answer_column"]
    train = read_lines(data["train_file"], *columns)
    if not data.get("validation_file"):
        return _hold_out(train, data)
    return {"train": train, "validation": read_lines(data["validation_file"], *columns)}


def _read_hub(data: dict) -> dict[str, list[dict]]:
    train = _hub_split(data, data["train_split"])
    if not data.get("validation_split"):
        return _hold_out(train, data)
    return {"train": train, "validation": _hub_split(data, data["validation_split"])}


def _hub_split(data: dict, name: str) -> list[dict]:
    from datasets import load_dataset

    instead = "use data.source jsonl with a file you have, or reasoning-gym"
    with errors.fetching("data", f"{data['id']}, split {name}", instead):
        table = load_dataset(data["id"], data.get("name"), split=name, revision=data.get("revision"))
    columns = data["question_column"], data["answer_column"]
    return [_example(row, *columns, f"{data['id']}/{name}:{i}") for i, row in enumerate(table, start=1)]


def _read_reasoning_gym(data: dict) -> dict[str, list[dict]]:
    """GSM-Symbolic problems, one fifth of the templates kept for validation alone."""
    from reasoning_gym import create_dataset

    wanted = {"train": data["train_examples"], "validation": data["validation_examples"]}
    size = 10 * (wanted["train"] + wanted["validation"]) + 1000
    problems = create_dataset(data["dataset"], size=size, seed=data["seed"])
    templates = sorted(set(problems.task_indices))
    held_out = set(random.Random(data["seed"]).sample(templates, int(len(templates) * _VALIDATION_SHARE)))
    splits: dict[str, list[dict]] = {"train": [], "validation": []}
    for index, template in enumerate(problems.task_indices):
        rows = splits["validation" if template in held_out else "train"]
        problem = problems[index]
        # Some solutions end in `#### 8.0` where the answer is 8.
        steps = problem["metadata"]["answer_cot"].rsplit("####", 1)[0]
        rows.append({"question": problem["question"], "answer": f"{steps}#### {problem['answer']}"})
    return splits


_READERS = {"jsonl": _read_jsonl, "hub": _read_hub, "reasoning-gym": _read_reasoning_gym}
