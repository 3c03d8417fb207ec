"""Users' own data through the workflow: conversations by their own template, and answers that nobody can mark."""

import json

import pandas as pd
import pytest
import tiny
from conftest import RESULTS, RUN
from frontier import records
from frontier.data_types import ExamplesRecord
from frontier.model.data.tokens import IGNORED, load_tokens
from frontier.record_types import AccuracyRecord
from frontier.token_types import TokensRecord
from transformers import AutoTokenizer
from typed import problems

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def study(new_study, tmp_path_factory):
    """Chats of two exchanges, translations that end in no number, with an accuracy asked for."""
    model = tiny.write_model(tmp_path_factory.mktemp("model"))
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(model)
    study = new_study(
        model={"source": "path", "path": str(model)},
        data=None,
        precisions=["fp32"],
        ranks=[4],
        steps=2,
        accuracy={"measure": True},
    )
    rows = []
    for i in range(50):
        said = [("user", f"Say {i}"), ("assistant", f"Dis {i}"), ("user", "More"), ("assistant", f"Encore {i}")]
        rows.append({"messages": [{"role": role, "content": text} for role, text in said], "topic": i % 5})
    rows.append({"messages": rows[0]["messages"][:1], "topic": 0})
    (study.folder / "chats").mkdir()
    for part in range(2):
        path = study.folder / "chats" / f"{part}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows[part::2]))
    study.configure(data={"source": "file", "train_file": "chats", "group_column": "topic", "max_length": 256})
    study.told = study.run().stderr
    return study


def record(study, name: str) -> dict:
    return records.read_json(study.folder / name)


def test_what_became_of_the_rows_is_recorded_and_told(study):
    examples = record(study, "resources/examples/examples.json")
    assert problems(examples, ExamplesRecord) == []
    assert examples["conversations"] == {"without_answer": 1}
    assert (examples["forms"], examples["duplicates_left_out"]) == (["messages"], 0)
    lines = study.told.splitlines()
    assert any(
        "examples: 40 to train on, 10 to validate on; 0 left out that repeat another, 1 left out:" in one
        for one in lines
    )
    assert any("warning: 10 validation examples decide nothing" in one for one in lines)


def test_tokens_are_the_templates_and_their_share_with_loss_is_told(study):
    tokens = record(study, "resources/tokens/tokens.json")
    assert problems(tokens, TokensRecord) == []
    assert tokens["template"]["kind"] == "chat"
    assert tokens["template"]["text"] == CHATML
    tokenizer = AutoTokenizer.from_pretrained(study.config["model"]["path"])
    for row in load_tokens(str(study.folder / "resources/tokens/train.parquet")):
        said = tokenizer.decode([token for token in row["labels"] if token != IGNORED])
        assert said.startswith("Dis ")
        assert said.count("<|im_end|>") == 2
    train = tokens["train"]
    share = (
        f"{train['tokens']} tokens, {train['answer_tokens']} ({train['answer_tokens'] / train['tokens']:.0%}) of them"
    )
    assert any(f"train: 40 examples, {share} with loss" in line for line in study.told.splitlines())


def test_the_adapter_is_shipped_with_the_template_that_it_has_learned(study):
    assert (study.folder / RESULTS / "adapter/chat_template.jinja").read_text("utf-8") == CHATML
    page = (study.folder / "results/report.html").read_text("utf-8")
    assert "the tokenizer’s own chat template" in page
    assert record(study, "resources/tokens/tokens.json")["template"]["digest"] in page
    assert "10 validation examples decide nothing" in page


def test_answers_that_nobody_can_mark_are_told_before_the_first_training_and_withhold_nothing(study):
    lines = study.told.splitlines()
    line = (
        "warning: accuracy.measure: none of the 10 validation answers ends in #### and a number, so none can be marked"
    )
    told = next(place for place, one in enumerate(lines) if line in one)
    trained = next(place for place, one in enumerate(lines) if one.startswith(f"run 1 of 1: {RUN}"))
    assert told < trained
    assert (study.folder / "results/report.html").exists()
    summary = pd.read_csv(study.folder / "results/summary.csv")
    assert list(summary["status"]) == ["ok"]
    assert summary["accuracy_strict"].isna().all()
    found = record(study, f"{RESULTS}/accuracy.json")
    assert problems(found, AccuracyRecord) == []
    assert found["outcome"]["status"] == "unmeasured"
    assert found["outcome"]["reason"].startswith("accuracy.measure: none of the 10 validation answers")


def test_an_accuracy_that_is_switched_on_later_knows_its_data_before_the_next_training_too(study):
    """The examples are there already, so that nothing is said as they are fetched."""
    (study.folder / "results/baselines/fp32/accuracy.json").unlink()
    study.configure(ranks=[4, 8])
    lines = study.run().stderr.splitlines()
    assert not any(line.startswith("examples:") for line in lines)
    told = next(place for place, one in enumerate(lines) if "none of the 10 validation answers ends in ####" in one)
    assert told < next(place for place, one in enumerate(lines) if one.startswith("run 1 of 1: fp32-r8-s0"))
    study.configure(ranks=[4])


def test_another_name_of_the_source_makes_nothing_again_and_another_seed_of_the_split_all(study):
    before = study.config["data"]
    study.configure(data={"source": "jsonl"})
    # An edit of the configuration makes the summary anew, whatever it says.
    assert not set(study.plan()) & {"fetch_data", "tokenize_data", "train_adapter"}
    study.configure(data={"split_seed": 1})
    assert {"fetch_data", "tokenize_data", "train_adapter"} <= set(study.plan())
    study.configure(data=before | {"split_seed": 0})
    assert not set(study.plan()) & {"fetch_data", "tokenize_data", "train_adapter"}
