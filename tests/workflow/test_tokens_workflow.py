"""Tokens and truths through the workflow: a model whose tokenizer and settings do all that can change an example."""

import json

import pandas as pd
import pytest
import tiny
from frontier import records
from frontier.data_types import ExamplesRecord
from frontier.model.data.tokens import IGNORED, load_tokens
from frontier.record_types import AccuracyRecord
from frontier.token_types import TokensRecord
from transformers import AutoTokenizer
from typed import problems
from word_tables import BEGIN, END, sentence_piece

FINALS = ["3/4", "12:30", "1.234,50", "1 000", "1e3", "\u22125", "$18", "#42", "7</s>", "8"]
# By the rule: five are no numbers. By the harness's filter: eight read otherwise (each but `7` and `8`).
COUNTS = {"answers_without_final": 5, "finals_read_otherwise": 8}


@pytest.fixture(scope="module")
def study(new_study, tmp_path_factory):
    """A Llama over a tokenizer that adds `<s>`, `</s>` and a space; two ends; hostile questions and finals."""
    model = tiny.write_model(tmp_path_factory.mktemp("model"), vocab_size=400)
    sentence_piece("first", f"{BEGIN} $A {END}").save_pretrained(model)
    settings = model / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token_id": [2, 260]}))
    study = new_study(
        model={"source": "path", "path": str(model)},
        data={"template": f"{BEGIN}[INST] {{question}} [/INST] "},
        precisions=["fp32"],
        ranks=[2],
        steps=1,
        accuracy={"max_new_tokens": 40},
    )
    rows = [
        {"question": f"What is {i} and {END}?", "answer": f"So.\n###{'' if f[0] == '#' else '# '}{f}"}
        for i, f in enumerate(FINALS)
    ]
    (study.folder / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    study.told = study.run("resources/tokens/tokens.json", "results/baselines/fp32/accuracy.json").stderr
    return study


def record(study, name: str) -> dict:
    return records.read_json(study.folder / name)


def test_each_row_has_one_beginning_and_one_end_and_says_its_text(study):
    tokenizer = AutoTokenizer.from_pretrained(study.config["model"]["path"])
    rows = load_tokens(str(study.folder / "resources/tokens/validation.parquet"))
    assert len(rows) == len(FINALS)
    for index, row in enumerate(rows):
        ids = row["input_ids"]
        assert (ids.count(1), ids.count(2), ids[0], ids[-1]) == (1, 1, 1, 2)
        learned = [token for token in row["labels"] if token != IGNORED]
        prompt = tokenizer.decode(ids[1 : -len(learned)])
        assert prompt == f"[INST] What is {index} and {END}? [/INST] "
        assert tokenizer.decode(learned[:-1]).endswith(FINALS[index].removesuffix(END))


def test_what_tokens_were_kept_from_is_recorded_and_told(study):
    tokens = record(study, "resources/tokens/tokens.json")
    assert problems(tokens, TokensRecord) == []
    counts = {name: count for name, count in tokens["validation"].items() if name not in ("tokens", "answer_tokens")}
    assert counts == {
        "examples": 10,
        "tokens_cut_off": 0,
        "examples_cut_off": 0,
        "examples_left_out": 0,
        "beginnings_in_template": 10,
        "ends_not_added": 10,
        "answers_with_end": 1,
        "ends_within_answers": 0,
        "control_tokens_as_text": 10,
        "unknown_tokens": 0,
        "borders_kept": 0,
        "texts_changed": 0,
        "ids_folded": 0,
    }
    (line,) = [line for line in study.told.splitlines() if "validation: 10 examples" in line]
    assert "; 1 ends that answers named themselves, put once; 10 control tokens named in questions and" in line


def test_truths_are_counted_alike_at_fetch_and_in_the_accuracy_and_told(study):
    examples = record(study, "resources/examples/examples.json")
    assert problems(examples, ExamplesRecord) == []
    # The sums to train on all end in a plain number.
    assert {name: examples[name] for name in COUNTS} == COUNTS
    assert examples["duplicates_left_out"] == 1
    accuracy = record(study, "results/baselines/fp32/accuracy.json")
    assert problems(accuracy, AccuracyRecord) == []
    outcome = accuracy["outcome"]
    assert {name: outcome[name] for name in COUNTS} == COUNTS
    assert (outcome["examples"], outcome["prompts_too_long"]) == (5, 0)
    told = "5 without a final number after ####, 8 with one that lm-evaluation-harness's filter reads otherwise"
    lines = study.told.splitlines()
    assert any("examples: 40 to train on, 10 to validate on; 1 left out" in line and told in line for line in lines)
    assert any("fp32  asks 5 of 10 problems" in line and told in line for line in lines)


def test_accuracy_takes_these_truths_and_ends_at_either_end(study):
    answers = pd.read_parquet(study.folder / "results/baselines/fp32/answers.parquet")
    assert list(answers["truth"]) == ["-5", "18", "42", "7", "8"]
    tokenizer = AutoTokenizer.from_pretrained(study.config["model"]["path"])
    second = tokenizer.convert_ids_to_tokens(260)
    assert not answers["answer"].str.contains(second, regex=False).any()
