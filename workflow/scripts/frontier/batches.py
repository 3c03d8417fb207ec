"""The micro-batches that a run will draw, known before it starts: from the tokens, or from what is known of them."""

import itertools
import math
import tempfile
from pathlib import Path

import torch

from frontier import data, packing, records, training
from frontier.data import IGNORED
from frontier.errors import UserError

# Of English with numbers, by the tokenizers of current models: between 3 and 4.
CHARACTERS_PER_TOKEN = 3.3
_MOST = 4000


def examples(study: dict, resources: Path) -> tuple[list[dict], str]:
    """The training examples of a study as tokens, and how they are known.

    The real tokens where they are there and of this data; otherwise the texts, at CHARACTERS_PER_TOKEN; otherwise as
    many examples as there are of `max_length` tokens, all of them learned: then the plan is an upper bound.
    """
    section = study["data"]
    length = section["max_length"]
    if found := _tokens(study, resources):
        return found, "tokens"
    if section["source"] != "hub":
        rows = data.read_examples(section)[0]["train"]
        return [_guessed(row, section["template"], length) for row in rows], "texts"
    count = section["train_examples"] or study["batch_size"] * (study["steps"] or 100)
    return [_example(0, length)] * count, "max_length"


def lengths(rows: list[dict]) -> list[int]:
    return [len(row["input_ids"]) for row in rows]


def draw(rows: list[dict], request: dict) -> list[list[dict]]:
    """The micro-batches of a run in the order in which its Trainer draws them, at most _MOST of them."""
    count = micro_batches(len(rows), request["training"])
    with tempfile.TemporaryDirectory() as folder:
        arguments = training.trainer_arguments(request, torch.device("cpu"), torch.float32, Path(folder))
        numbered = [{"input_ids": [position], "labels": [IGNORED]} for position in range(len(rows))]
        clock = training.Clock(request["run"], torch.device("cpu"))
        trainer = training.AnswerTrainer(
            model=torch.nn.Linear(1, 1), args=arguments, train_dataset=numbered, clock=clock
        )
        loader = trainer.get_train_dataloader()
        drawn: list[list[dict]] = []
        for epoch in itertools.count():
            if hasattr(loader, "set_epoch"):
                loader.set_epoch(epoch)
            for row in loader:
                drawn.append([rows[position] for position in row["input_ids"][0].tolist()])
                if len(drawn) >= min(count, _MOST):
                    return drawn


def micro_batches(count: int, settings: dict) -> int:
    """How many micro-batches a run takes over so many examples."""
    micro = settings["micro_batch_size"] or settings["batch_size"]
    return steps(count, settings) * (settings["batch_size"] // micro)


def steps(count: int, settings: dict) -> int:
    """A run's optimiser steps over so many examples."""
    return settings["steps"] or math.ceil(settings["epochs"] * math.ceil(count / settings["batch_size"]))


def largest(drawn: list[list[dict]]) -> list[dict]:
    """The micro-batch that takes the most memory: of the most tokens, and of those the most learned."""
    return max(drawn, key=_weight)


def typical(drawn: list[list[dict]]) -> list[dict]:
    """The micro-batch whose number of tokens is nearest to the mean."""
    mean = sum(_weight(batch)[0] for batch in drawn) / len(drawn)
    return min(drawn, key=lambda batch: abs(_weight(batch)[0] - mean))


def collate(batch: list[dict]) -> dict:
    return packing.collate(batch)


def cut(rows: list[dict], length: int) -> list[dict]:
    """The examples as they would be at a smaller `max_length`."""
    return [{key: row[key][:length] for key in ("input_ids", "labels")} for row in rows]


def _weight(batch: list[dict]) -> tuple[int, int]:
    return (
        sum(len(example["input_ids"]) for example in batch),
        sum(label != IGNORED for example in batch for label in example["labels"]),
    )


def _tokens(study: dict, resources: Path) -> list[dict] | None:
    """The tokens that are there, if they were made of this data in this way for this model."""
    note, model, tokens = (resources / name for name in ("tokens/tokens.json", "model.json", "tokens/train.parquet"))
    if not (note.exists() and model.exists() and tokens.exists()):
        return None
    record, source = records.read_json(note), records.read_json(model)
    same_data = record["examples"]["source"] == {
        key: value for key, value in study["data"].items() if key not in record["request"]
    }
    same_way = all(study["data"][key] == value for key, value in record["request"].items())
    if same_data and same_way and source["source"] == study["model"] and record["model"] == source["digest"]:
        return data.load_tokens(str(tokens))
    return None


def _guessed(row: dict, template: str, length: int) -> dict:
    prompt = math.ceil(len(template.replace("{question}", row["question"])) / CHARACTERS_PER_TOKEN)
    answer = math.ceil(len(row["answer"]) / CHARACTERS_PER_TOKEN) + 1
    if prompt >= length:
        raise UserError(f"data.max_length: got {length}, takes more than the {prompt} tokens of a question")
    return _example(prompt, min(length, prompt + answer))


def _example(prompt: int, length: int) -> dict:
    return {"input_ids": [1] * length, "labels": [IGNORED] * prompt + [1] * (length - prompt)}
