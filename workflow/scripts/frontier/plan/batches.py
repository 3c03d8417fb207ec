"""Predict the micro-batches that a run will draw: from its tokens, or from what is known of them so far."""

import json
import math
import tempfile
from pathlib import Path

import torch

from frontier import records
from frontier.data_types import Example
from frontier.errors import UserError
from frontier.model.data import templates
from frontier.model.data.examples import read_examples
from frontier.model.data.tokens import IGNORED, load_tokens
from frontier.plan.own_tokens import own_tokens
from frontier.request_types import TrainingRequest, TrainingSettings
from frontier.run import fit
from frontier.run.clock import Clock
from frontier.run.trainer import AnswerTrainer
from frontier.study import requests

# Characters. By the tokenizers of current models a token of English with numbers has 3 to 4.
CHARACTERS_PER_TOKEN = 3.3
# Characters that chat templates have around a turn.
_AROUND = 30
# Tokens. Larger batches are not tried: a step is long enough by then not to wait for launches, and its trace takes
# long.
MOST_TOKENS = 2**15
# Settings of a training that change nothing of what a step holds and does.
_NO_PART_OF_A_STEP = ("learning_rate", "schedule", "warmup_steps", "logging_steps", "steps", "epochs")
# Examples, 37 epochs of GSM8K. What a longer run draws after these is not looked at.
_MOST_DRAWN = 2**18


def examples(study: dict, resources: Path) -> tuple[dict[str, list[dict]], str]:
    """Return the examples of a study as tokens, by split, and in one word how those to train on are known.

    The splits are `train` and `validation`; the latter is empty where nobody knows how many there are.
    `tokens`: the real tokens, made of this data. `tokenizer`: the real tokens, made now of the texts. `texts`: their
    number is estimated from the real texts, by CHARACTERS_PER_TOKEN. `max_length`: the number of examples is known, and
    each is taken to have `max_length` tokens, all of them learned, which is an upper bound. `uncounted`: likewise, and
    the number of examples is not known either; there are as many as a batch may have.
    """
    section = study["data"]
    length = section["max_length"]
    if found := _tokens(study, resources):
        return found, "tokens"
    if section["source"] != "hub":
        splits = read_examples(section)[0]
        if made := own_tokens(study, splits):
            return made, "tokenizer"
        return {name: _guessed(rows, section["template"], length) for name, rows in splits.items()}, "texts"
    validation = [_example(0, length)] * (section["validation_examples"] or 0)
    if section["train_examples"]:
        return {"train": [_example(0, length)] * section["train_examples"], "validation": validation}, "max_length"
    batches = study["batch_size"] if isinstance(study["batch_size"], list) else [study["batch_size"]]
    rows = [_example(0, length)] * max(*batches, MOST_TOKENS // length)
    return {"train": rows, "validation": validation}, "uncounted"


def lengths(rows: list[dict]) -> list[int]:
    """Return the examples' lengths in tokens."""
    return [len(row["input_ids"]) for row in rows]


def draw(rows: list[dict], request: TrainingRequest) -> list[list[dict]]:
    """Return a run's micro-batches in the order in which its Trainer draws them, for at most _MOST_DRAWN examples."""
    left = steps(len(rows), request["training"])
    with tempfile.TemporaryDirectory() as folder:
        arguments = fit.trainer_arguments(request, torch.device("cpu"), torch.float32, Path(folder))
        clock = Clock(request["run"], torch.device("cpu"))
        trainer = AnswerTrainer(
            model=torch.nn.Linear(1, 1), args=arguments, train_dataset=range(len(rows)), clock=clock
        )
        loader = trainer.get_train_dataloader()
    most = _MOST_DRAWN // arguments.per_device_train_batch_size
    drawn: list[list[dict]] = []
    epoch = 0
    while True:
        loader.set_epoch(epoch)
        for number, positions in enumerate(loader.batch_sampler, start=1):
            drawn.append([rows[position] for position in positions])
            # An epoch's last step may have fewer micro-batches.
            left -= number % arguments.gradient_accumulation_steps == 0 or number == len(loader)
            if not left or len(drawn) >= most:
                return drawn
        epoch += 1


def steps(count: int, settings: TrainingSettings) -> int:
    """Return a run's number of optimiser steps over so many examples."""
    return settings["steps"] or math.ceil(settings["epochs"] * math.ceil(count / settings["batch_size"]))


def facts(kind: str, request: TrainingRequest, batch: list[dict]) -> str:
    """Return all that a prediction of some `kind`, of a run's step over micro-batches like `batch`, depends on."""
    known: dict = {key: request[key] for key in ("precision", "rank", "lora", "compute_dtype")}
    known |= {key: value for key, value in request["training"].items() if key not in _NO_PART_OF_A_STEP}
    shape = [(len(row["input_ids"]), sum(label >= 0 for label in row["labels"])) for row in batch]
    return json.dumps([kind, known, sorted(shape)], sort_keys=True)


def micro_batches(request: TrainingRequest) -> tuple[int, int]:
    """Return how many examples are computed at a time, and how many times in an optimiser step."""
    settings = request["training"]
    micro = settings["micro_batch_size"] or settings["batch_size"]
    return micro, settings["batch_size"] // micro


def largest(drawn: list[list[dict]]) -> list[dict]:
    """Return the micro-batch that takes the most memory: with the most tokens and, of equals, the most learned ones."""
    most = max(map(_tokens_of, drawn))
    counted: dict[int, int] = {}

    def learned(row: dict) -> int:
        if id(row) not in counted:
            counted[id(row)] = sum(label != IGNORED for label in row["labels"])
        return counted[id(row)]

    return max((batch for batch in drawn if _tokens_of(batch) == most), key=lambda batch: sum(map(learned, batch)))


def typical(drawn: list[list[dict]]) -> list[dict]:
    """Return the micro-batch whose number of tokens is nearest to the mean."""
    mean = sum(map(_tokens_of, drawn)) / len(drawn)
    return min(drawn, key=lambda batch: abs(_tokens_of(batch) - mean))


def cut(rows: list[dict], length: int) -> list[dict]:
    """Return the examples as they would be at a smaller `max_length`."""
    return [{key: row[key][:length] for key in ("input_ids", "labels")} for row in rows]


def _tokens_of(batch: list[dict]) -> int:
    return sum(len(example["input_ids"]) for example in batch)


def _tokens(study: dict, resources: Path) -> dict[str, list[dict]] | None:
    """Return the study's tokens if there are any, made of this data, in this way, for this model; else None."""
    note, model = (resources / name for name in ("tokens/tokens.json", "model.json"))
    tokens = {name: resources / f"tokens/{name}.parquet" for name in ("train", "validation")}
    if not all(path.exists() for path in (note, model, *tokens.values())):
        return None
    record, source = records.read_json(note), records.read_json(model)
    # If a file of the data was edited after the tokens were made, Snakemake will make them again.
    edited = max((Path(file).stat().st_mtime for file in requests.data_files(study)), default=0.0)
    same_data = record["examples"]["source"] == requests.data_request(study)["data"] and edited <= note.stat().st_mtime
    same_way = record["request"] == requests.tokens_request(study)
    if same_data and same_way and source["source"] == study["model"] and record["model"] == source["digest"]:
        return {name: load_tokens(str(path)) for name, path in tokens.items()}
    return None


def _guessed(rows: list[Example], template: str | None, length: int) -> list[dict]:
    """Return an example for each row, with as many tokens as its characters suggest.

    As in the run, examples whose prompt alone has `length` tokens or more are left out; UserError if none remains.
    """
    found, shortest = [], math.inf
    for row in rows:
        asked, said = _characters(row, template)
        prompt, answer = math.ceil(asked / CHARACTERS_PER_TOKEN), math.ceil(said / CHARACTERS_PER_TOKEN) + 1
        shortest = min(shortest, prompt)
        if prompt < length:
            found.append(_example(prompt, min(length, prompt + answer)))
    if not found:
        raise UserError(f"data.max_length: got {length}, takes more than the {shortest} tokens of a question")
    return found


def _characters(row: Example, template: str | None) -> tuple[int, int]:
    """Return how many characters of a row are asked, and how many are learned.

    A conversation is taken as if all were asked first, with what a template has around each turn.
    """
    if "text" in row:
        return 0, len(row["text"])
    if "messages" in row:
        messages = row["messages"]
        said = sum(len(json.dumps(one)) for one in messages if one["role"] == "assistant")
        return sum(len(one["content"]) + _AROUND for one in messages if one["role"] != "assistant"), said
    text = (
        templates.TEXT if template is None else "{question}" + _AROUND * "." if template == templates.CHAT else template
    )
    return len(text.replace("{question}", row["question"])), len(row["answer"])


def _example(prompt: int, length: int) -> dict:
    return {"input_ids": [1] * length, "labels": [IGNORED] * prompt + [1] * (length - prompt)}
