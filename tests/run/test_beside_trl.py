"""This project's training beside TRL's SFTTrainer: the same conversations become the same tokens, labels and losses."""

import json
from pathlib import Path

import chats
import datasets
import pandas as pd
import pytest
import tiny
import torch
from frontier import records
from frontier.model import cache as cache_module
from frontier.model import prepare
from frontier.model.data.json_lines import read_lines
from frontier.model.data.tokens import load_tokens
from frontier.run import prove
from frontier.run.build import build_adapter
from frontier.run.train import train_adapter
from frontier.study import embedded, requests, schema
from transformers import AutoModelForCausalLM, AutoTokenizer

RUN, STEPS = "fp32-r4-s0", 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_module, "CACHE", folder / "cache")
        yield folder


@pytest.fixture(scope="module")
def ours(folder):
    """A training of ours by the workflow's own jobs, from a file of conversations: its study, and its files."""
    model = tiny.write_model(folder / "model", max_position_embeddings=2048)
    tokenizer = chats.tokenizer("llama3")
    assert len(tokenizer) <= tiny.CONFIG["vocab_size"]
    tokenizer.save_pretrained(model)
    rows = chats.conversations(80, chats.TAKES["llama3"])
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"source": "file", "train_file": str(folder / "rows.jsonl"), "max_length": 2048, "validation_examples": 8}
    settings = {"steps": STEPS, "batch_size": 4, "learning_rate": 1e-2, "cpu_threads": 1, "device": "cpu"}
    study = schema.resolve(
        {"model": {"source": "path", "path": str(model)}, "data": data, "precisions": ["fp32"]} | settings
    )
    names = ("model.json", "train.jsonl", "validation.jsonl", "examples.json", "proof.json", "base.json", "tokens.json")
    files = {name.partition(".")[0]: str(folder / name) for name in names}
    files |= {"training": str(folder / "training.json"), "history": str(folder / "history.csv")}
    files |= {"adapter": str(folder / "adapter"), "material": files["tokens"]}
    device = requests.device_request(study)
    prepare.fetch_model(
        {"request": {"model": study["model"], "tokenizer_model": embedded.EMBEDDED_MODEL}, "output": files}
    )
    prepare.fetch_data({"request": requests.data_request(study), "output": files})
    made = {name: str(folder / f"{name}.parquet") for name in ("train", "validation")} | {"tokens": files["tokens"]}
    prepare.tokenize_data({"request": requests.tokens_request(study), "input": files, "output": made})
    prove.prove_model({"request": device, "input": files, "output": files})
    prepare.prepare_base({"request": {"precision": "fp32", **device}, "input": files, "output": files})
    request = requests.training_request(study, RUN)
    inputs = files | {"tokens": made["train"]}
    train_adapter({"digest": "", "request": request, "input": inputs, "output": files, "limits": {}})
    return request, files | {"tokens": made["train"]}


@pytest.fixture(scope="module")
def trl_trainer(folder, ours):
    """TRL's trainer on the same conversations, with the same adapter and settings, after its training."""
    from trl import SFTConfig, SFTTrainer

    request, files = ours
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    adapted = build_adapter(model, request["lora"], request["rank"], request["seed"])
    settings = request["training"]
    config = SFTConfig(
        output_dir=str(folder / "trl"),
        assistant_only_loss=True,
        max_length=2048,
        max_steps=STEPS,
        per_device_train_batch_size=settings["batch_size"],
        learning_rate=settings["learning_rate"],
        lr_scheduler_type=settings["schedule"],
        warmup_steps=settings["warmup_steps"],
        weight_decay=settings["weight_decay"],
        max_grad_norm=settings["max_grad_norm"],
        optim=settings["optimizer"],
        seed=request["seed"],
        data_seed=request["seed"],
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    rows = read_lines(files["train"])
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    trainer = SFTTrainer(
        model=adapted, args=config, train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer
    )
    trainer.train()
    return trainer


def test_tokens_and_labels_are_trls(ours, trl_trainer):
    mine = load_tokens(ours[1]["tokens"])
    theirs = list(trl_trainer.train_dataset)
    assert len(mine) == len(theirs) == 72
    batch = trl_trainer.data_collator(theirs)
    for place, one in enumerate(mine):
        assert one["input_ids"] == theirs[place]["input_ids"]
        assert one["labels"] == batch["labels"][place].tolist()[: len(one["labels"])]
        assert set(batch["labels"][place].tolist()[len(one["labels"]) :]) <= {-100}


def test_losses_of_twenty_steps_are_trls(ours, trl_trainer):
    mine = pd.read_csv(ours[1]["history"])["loss"]
    theirs = [entry["loss"] for entry in trl_trainer.state.log_history if "loss" in entry]
    assert len(mine) == len(theirs) == STEPS
    assert mine.iloc[-1] < mine.iloc[0] - 0.1
    assert max(abs(one - other) for one, other in zip(mine, theirs, strict=True)) < 1e-4


def test_the_adapter_is_shipped_with_the_template(ours):
    template = records.read_json(ours[1]["material"])["template"]
    assert (Path(ours[1]["adapter"]) / "chat_template.jinja").read_text("utf-8") == template["text"]
