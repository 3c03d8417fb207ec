"""The micro-batches that a run draws, known before it starts."""

import fnmatch
import json
import os
from collections import Counter

import pytest
import tiny
import torch
from frontier.errors import UserError
from frontier.model import cache, prepare
from frontier.model.data import told
from frontier.model.data.json_lines import read_lines
from frontier.model.data.truths import count_truths
from frontier.plan import batches, own_tokens
from frontier.study import embedded, requests, schema
from planned import request
from transformers import AutoConfig


@pytest.mark.parametrize("options", [{}, {"micro_batch_size": 2, "steps": 8}])
def test_the_batches_are_those_that_a_run_draws(options):
    """Of one epoch, and of more, each of which ends in a step of fewer micro-batches."""
    from frontier.run import build, fit, trainer
    from frontier.run.clock import Clock

    examples = [{"input_ids": [1] * length, "labels": [1] * length} for length in range(10, 31)]
    wanted = request(batch=4, **options) | {"seed": 3}
    drawn = [sum(batches.lengths(batch)) for batch in batches.draw(examples, wanted)]
    seen = []

    class Watching(trainer.AnswerTrainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            seen.append(inputs["input_ids"].numel())
            return super().training_step(model, inputs, num_items_in_batch)

    options = dict(tiny.CONFIG)
    from transformers import AutoModelForCausalLM

    config = AutoConfig.for_model(options.pop("model_type"), **options)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="packed").requires_grad_(False)
    model = build.build_adapter(model, wanted["lora"], 2, 3)
    arguments = fit.trainer_arguments(wanted, torch.device("cpu"), torch.float32, "unused")
    clock = Clock("x", torch.device("cpu"))
    Watching(model=model, args=arguments, train_dataset=examples, clock=clock).train()
    assert seen == drawn


def test_all_that_a_run_draws_is_looked_at():
    examples = [{"input_ids": [1], "labels": [1]} for _ in range(5000)]
    drawn = batches.draw(examples, request(batch=1, steps=None, epochs=1))
    assert len({id(row) for batch in drawn for row in batch}) == 5000


@pytest.mark.parametrize(
    "section",
    [
        {"source": "reasoning-gym", "train_examples": 8, "validation_examples": 2},
        {"source": "jsonl", "train_file": "train.jsonl"},
        {"source": "hub", "id": "owner/name"},
    ],
    ids=lambda section: section["source"],
)
def test_the_tokens_that_are_there_are_used_where_they_are_of_this_data(section, tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = read_lines(str(tiny.write_sums(tmp_path / "train.jsonl", 8, 0)))
    counts = {**told.counts_of(Counter(), Counter(), 0), **count_truths(texts)}
    read = {"train": texts, "validation": texts[:2]}, counts
    for module in (prepare, batches):
        monkeypatch.setattr(module, "read_examples", lambda section: read)
    study = schema.resolve({"model": {"source": "path", "path": str(tiny_model)}, "data": section, "steps": 2})
    examples = {"train": "read-train.jsonl", "validation": "read-validation.jsonl", "examples": "examples.json"}
    tokens = {name: f"tokens/{name}.parquet" for name in ("train", "validation")} | {"tokens": "tokens/tokens.json"}
    model = {"model": study["model"], "tokenizer_model": embedded.EMBEDDED_MODEL}
    (tmp_path / "tokens").mkdir()
    prepare.fetch_model({"request": model, "output": {"model": "model.json"}})
    prepare.fetch_data({"request": requests.data_request(study), "output": examples})
    inputs = examples | {"model": "model.json"}
    prepare.tokenize_data({"request": requests.tokens_request(study), "input": inputs, "output": tokens})

    def known(**changes) -> str:
        return batches.examples(study | {"data": study["data"] | changes}, tmp_path)[1]

    assert known() == "tokens"
    assert known(**dict.fromkeys(set(study["data"]) & {"test_file", "test_split"}, "test")) == "tokens"
    for change in ({"max_length": 64}, {"template": "{question}"}, {"train_examples": 7}, {"answer_column": "text"}):
        assert known(**change) != "tokens"
    if "train_file" in section:
        note = (tmp_path / "tokens/tokens.json").stat()
        os.utime(tmp_path / "train.jsonl", (note.st_atime, note.st_mtime + 10))
        assert known() == "tokenizer"


def test_a_plan_leaves_out_what_a_run_would_and_refuses_where_nothing_is_left(tmp_path, monkeypatch):
    """One question that is too long is no reason not to plan."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cache, "CACHE", tmp_path / "cache")
    rows = [{"question": size * "q", "answer": f"{size} #### 5"} for size in (5, 6, 7, 4000)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, *rows[:2]]))
    (tmp_path / "validation.jsonl").write_text(json.dumps({"question": "v", "answer": "#### 5"}) + "\n")
    data = {"source": "jsonl", "train_file": "train.jsonl", "validation_file": "validation.jsonl"}
    study = {"model": embedded.EMBEDDED_MODEL, "steps": 1}
    found, how = batches.examples(schema.resolve(study | {"data": data | {"max_length": 64}}), tmp_path)
    assert (len(found["train"]), len(found["validation"]), how) == (3, 1, "texts")
    with pytest.raises(UserError, match=r"^data\.max_length: got 8, takes more than the \d+ tokens of a question$"):
        batches.examples(schema.resolve(study | {"data": data | {"max_length": 8}}), tmp_path)


@pytest.mark.parametrize("source", ["hub", "path"])
def test_texts_are_counted_by_the_models_own_tokenizer(source, tiny_model, tmp_path, monkeypatch):
    """Of a hub that is there, its files alone are fetched, and the tokens are those that a run would make."""
    monkeypatch.chdir(tmp_path)
    tiny.write_sums(tmp_path / "train.jsonl", 12, 0)
    asked = []

    def give(name, revision=None, allow_patterns=()):
        asked.extend(allow_patterns)
        return str(tiny_model)

    monkeypatch.setattr(own_tokens, "snapshot_download", give)
    where = {"path": str(tiny_model)} if source == "path" else {"id": "owner/name", "revision": "a" * 40}
    data = {"source": "jsonl", "train_file": "train.jsonl", "validation_examples": 3}
    study = schema.resolve({"model": {"source": source} | where, "data": data, "steps": 1})
    found, how = batches.examples(study, tmp_path)
    assert how == "tokenizer"
    assert (len(found["train"]), len(found["validation"])) == (9, 3)
    assert max(token for row in found["train"] for token in row["input_ids"]) < tiny.CONFIG["vocab_size"]
    assert len({len(row["input_ids"]) for row in found["train"]}) > 1
    assert not any(fnmatch.fnmatch("model.safetensors", pattern) for pattern in asked)
    assert bool(asked) == (source == "hub")

    def refuse(*_, **__):
        raise OSError("no connection")

    monkeypatch.setattr(own_tokens, "snapshot_download", refuse)
    assert batches.examples(study, tmp_path)[1] == ("texts" if source == "hub" else "tokenizer")
