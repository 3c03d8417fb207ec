"""Examples: where they come from, what becomes of bad ones, how they turn into tokens."""

import copy
import json
import re
from datetime import datetime

import datasets
import pytest
import tiny
from doors import POINTER
from frontier import records
from frontier.errors import UserError
from frontier.model import prepare
from frontier.model.data import differences
from frontier.model.data.chat import ChatEncoder
from frontier.model.data.encoding import Encoder
from frontier.model.data.examples import read_examples
from frontier.model.data.json_lines import read_lines
from frontier.model.data.tokens import IGNORED, load_tokens, tokenize, write_tokens
from frontier.study import embedded, schema
from huggingface_hub.errors import HTTPError

SECTION = {
    "source": "jsonl",
    "validation_file": None,
    "train_examples": None,
    "validation_examples": None,
    "question_column": "question",
    "answer_column": "answer",
}


DROPPED = 'df = df[df["{}"].fillna("").str.strip() != ""] leaves such rows out'


def lines(path, *rows) -> dict:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return SECTION | {"train_file": str(path)}


def row(index: int, answer: str = "#### 1") -> dict:
    return {"question": f"question {index}", "answer": answer}


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (
            "not json",
            'not JSON (Expecting value, column 1); takes one object a line, such as {"text": "..."} of a plain text, '
            "an array of objects, CSV (named .csv), parquet or Arrow",
        ),
        (
            "\udcff",
            'not UTF-8; save it as UTF-8, say by Path(path).write_text(Path(path).read_text("cp1252"), "utf-8")',
        ),
        (
            "[1]",
            'takes an object with question and answer, got [1]; df.to_json(path, orient="records", lines=True) writes '
            "a table so",
        ),
        ({"question": "q"}, 'has no answer, has ["question"]; data.answer_column takes the name of one'),
        (
            {"question": "q", "answer": None},
            "answer takes a text that is not empty, got null; " + DROPPED.format("answer"),
        ),
        ({"Question ": "q"}, 'has no question, has ["Question "]; data.question_column takes the name of one'),
        (
            {"question": "q", "answer": True},
            'answer takes a text that is not empty, got true; df["answer"] = df["answer"].astype(str) makes texts of '
            "them",
        ),
        ('{"question": "q", "answer": ' + "[" * 10**5, "not JSON that is read here (nested too deeply)"),
        ('{"question": "q", "question": "r", "answer": "a"}', 'has "question" twice; takes each key once'),
        (
            {"question": "  ", "answer": "a"},
            'question takes a text that is not empty, got "  "; ' + DROPPED.format("question"),
        ),
        (
            {"question": "q", "answer": "\t\u3000"},
            'answer takes a text that is not empty, got "\\t\\u3000"; ' + DROPPED.format("answer"),
        ),
        (
            '{"question": "q\\ud83d", "answer": "a"}',
            'question takes a text, got one with "\\ud83d", half of a character; '
            "cut texts at characters, not at their halves",
        ),
        (
            {"question": [{"role": "user", "content": "q" * 99}], "answer": "a"},
            'question takes a text that is not empty, got [{"role": "user", "content": "' + "q" * 47 + "...; "
            "data.format messages or sharegpt takes conversations, in a column of that name",
        ),
    ],
)
def test_malformed_row_is_named_by_file_and_line(tmp_path, bad, complaint):
    section = lines(tmp_path / "rows.jsonl", row(0), "", bad, row(1))
    with pytest.raises(UserError) as refusal:
        read_examples(section)
    assert str(refusal.value) == f"{tmp_path}/rows.jsonl:3: {complaint}"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            HTTPError("peer closed\nthe connection"),
            "data: the hub does not give owner/name, split train (HTTPError: peer closed); "
            "use data.source file with a file you have, or reasoning-gym",
        ),
        (
            PermissionError(13, "Permission denied", "/cache"),
            "data: [Errno 13] Permission denied: '/cache', as owner/name, split train was fetched; "
            "downloads lie in HF_HOME, models in resources/cache too",
        ),
    ],
)
def test_what_the_hub_or_the_disk_refuses_is_one_line(monkeypatch, error, line):
    section = SECTION | {"source": "hub", "id": "owner/name", "train_split": "train"}

    def refuse(*arguments, **options):
        raise error

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(UserError) as refusal:
        read_examples(section)
    assert str(refusal.value) == line


def test_a_pointer_of_git_lfs_is_no_file_of_examples(tmp_path):
    section = lines(tmp_path / "rows.jsonl", *POINTER.splitlines())
    with pytest.raises(UserError) as refusal:
        read_examples(section)
    line = "a pointer of Git LFS, not the file; run git lfs pull where it lies"
    assert str(refusal.value) == f"{tmp_path}/rows.jsonl: {line}"


def test_a_file_that_begins_with_the_mark_of_utf_8_is_read_as_any(tmp_path):
    """Windows' editors and spreadsheets write one."""
    section = lines(tmp_path / "rows.jsonl", *[row(i) for i in range(5)])
    plain = read_examples(section)
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "rows.jsonl").read_bytes())
    assert read_examples(section) == plain


def hub(monkeypatch, columns: dict, features=None, **changes) -> dict:
    """A hub section whose one split has these columns, some cast to other features of datasets'."""
    table = datasets.Dataset.from_dict(columns)
    for name, kind in (features or {}).items():
        table = table.cast_column(name, kind)
    monkeypatch.setattr("datasets.load_dataset", lambda *arguments, **options: table)
    section = {"source": "hub", "id": "owner/name", "train_split": "train", "validation_split": None}
    return SECTION | section | changes


OWN_FILES = "; data.source file reads the data set's own files, whose texts stay what they are"
TWENTY = {"question": [f"question {i}" for i in range(20)], "answer": ["#### 1"] * 20}


@pytest.mark.parametrize(
    "kind", [datasets.Audio(), datasets.Image(), datasets.Video()], ids=["audio", "image", "video"]
)
def test_columns_that_nobody_asked_for_are_not_read(monkeypatch, kind):
    """Decoding a sound or a picture takes libraries that need not be here, and hours."""
    spoiled = [{"path": "nowhere", "bytes": b"no such format"}] * 20
    section = hub(monkeypatch, TWENTY | {"other": spoiled}, {"other": kind})
    splits, _ = read_examples(section)
    assert len(splits["train"]) == 16


@pytest.mark.parametrize(
    ("values", "kind", "told"),
    [
        ([datetime(2026, 1, 1)] * 20, None, "question takes a text, got a column of timestamp[us]"),
        ([b"1"] * 20, None, "question takes a text, got a column of binary"),
        ([["a"]] * 20, None, "question takes a text, got a column of List"),
        ([{"role": "user"}] * 20, None, "question takes a text, got a column of dict"),
        ([None] * 20, None, "question takes a text, got a column of null"),
        ([0] * 20, datasets.ClassLabel(names=["a"]), "question takes a text, got a column of int64"),
        ([{"path": None, "bytes": b""}] * 20, datasets.Audio(), "question takes a text, got a column of dict"),
        (
            ["a", None, *"bcdefghijklmnopqrs"],
            None,
            "2: question takes a text that is not empty, got null; " + DROPPED.format("question"),
        ),
    ],
)
def test_a_column_of_anything_but_text_is_refused_in_one_line(monkeypatch, values, kind, told):
    section = hub(monkeypatch, TWENTY | {"question": values}, kind and {"question": kind})
    with pytest.raises(UserError) as refusal:
        read_examples(section)
    told += "" if told.startswith("2") else OWN_FILES
    assert str(refusal.value) in (f"owner/name/train: {told}", f"owner/name/train:{told}")


def test_a_column_that_is_not_there_is_named_with_those_that_are(monkeypatch):
    section = hub(monkeypatch, TWENTY, question_column="problem")
    with pytest.raises(UserError) as refusal:
        read_examples(section)
    assert str(refusal.value) == "owner/name/train: has no column problem; takes one of question, answer"


def test_repeated_questions_never_reach_both_splits(tmp_path):
    section = lines(tmp_path / "rows.jsonl", *[row(i % 7) for i in range(12)], row(8, "no final"), row(3), row(9))
    splits, counts = read_examples(section | {"validation_examples": 3})
    train, validation = ({one["question"] for one in splits[name]} for name in ("train", "validation"))
    assert validation == {"question 6", "question 8", "question 9"}
    assert train == {f"question {i}" for i in range(6)}
    assert counts["duplicates_left_out"] == 6
    assert counts["answers_without_final"] == 1
    assert counts["examples_not_taken"] == counts["finals_read_otherwise"] == 0


def test_more_examples_than_there_are(tmp_path):
    section = lines(tmp_path / "rows.jsonl", *map(row, range(10)))
    with pytest.raises(UserError, match=r"data\.train_examples: got 9, takes at most the 8 there are"):
        read_examples(section | {"validation_examples": 2, "train_examples": 9})


@pytest.mark.parametrize(
    ("count", "changes", "line"),
    [
        (4, {}, "data.validation_examples: got nothing, takes 1 to 3 of the 4 rows there are"),
        (4, {"validation_examples": 4}, "data.validation_examples: got 4, takes 1 to 3 of the 4 rows there are"),
        (1, {}, "data: takes two examples at least where some are held out for validation; 1 left of 1 rows: none"),
        (
            4,
            {"validation_file": "rows.jsonl"},
            "data: no train example is left of 8 rows: 4 repeat another",
        ),
    ],
)
def test_too_few_rows_are_refused_in_one_line(tmp_path, monkeypatch, count, changes, line):
    monkeypatch.chdir(tmp_path)
    section = lines(tmp_path / "rows.jsonl", *map(row, range(count)))
    with pytest.raises(UserError) as refusal:
        read_examples(section | changes)
    assert str(refusal.value).startswith(line)
    assert "\n" not in str(refusal.value)


def test_split_does_not_depend_on_how_much_of_training_is_used(tmp_path):
    section = lines(tmp_path / "rows.jsonl", *map(row, range(30)))
    whole, _ = read_examples(section | {"validation_examples": 5})
    part, _ = read_examples(section | {"validation_examples": 5, "train_examples": 10})
    assert part["validation"] == whole["validation"]
    assert part["train"] == whole["train"][:10]
    _, counts = read_examples(section | {"validation_examples": 5, "train_examples": 10})
    assert counts["examples_not_taken"] == 25 - 10


def test_gsm_symbolic_shares_neither_template_nor_question_between_splits():
    from reasoning_gym import create_dataset

    section = schema.resolve(
        {
            "model": embedded.EMBEDDED_MODEL,
            "data": {"source": "reasoning-gym", "train_examples": 400, "validation_examples": 100},
            "steps": 1,
        }
    )["data"]
    splits, counts = read_examples(section)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 400, "validation": 100}
    assert (counts["answers_without_final"], counts["finals_read_otherwise"]) == (0, 0)
    problems = create_dataset("gsm_symbolic", size=6000, seed=0)
    template_of = {problems[i]["question"]: template for i, template in enumerate(problems.task_indices)}
    answer_of = {problems[i]["question"]: problems[i]["answer"] for i in range(6000)}
    train, validation = ({template_of[one["question"]] for one in splits[name]} for name in ("train", "validation"))
    assert len(train) > 40
    assert len(validation) > 10
    assert not train & validation
    for one in splits["train"] + splits["validation"]:
        assert one["answer"].endswith(f"\n#### {answer_of[one['question']]}")


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


def encoder(tokenizer, template: str) -> Encoder:
    return Encoder(tokenizer, template, 300, (tokenizer.eos_token_id,))


def test_labels_are_the_answer_and_the_end_of_sequence(tokenizer):
    rows = [{"question": "2 plus {x}?", "answer": "#### 3"}]
    (example,), counts = tokenize(rows, encoder(tokenizer, "Q: {question} {keep}\nA: "), 128)
    labelled = [token for token in example["labels"] if token != IGNORED]
    assert tokenizer.decode(example["input_ids"]) == "Q: 2 plus {x}? {keep}\nA: #### 3<eos>"
    assert tokenizer.decode(labelled) == "#### 3<eos>"
    assert example["labels"][-len(labelled) :] == example["input_ids"][-len(labelled) :]
    assert counts["answer_tokens"] == len(labelled) == 7


def test_tokens_cut_off_are_counted_and_lost_answers_left_out(tokenizer):
    rows = [{"question": "q" * size, "answer": "1234"} for size in (1, 6, 20)]
    examples, counts = tokenize(rows, encoder(tokenizer, "{question}"), 8)
    assert [len(example["input_ids"]) for example in examples] == [6, 8]
    assert counts == {
        "examples": 2,
        "tokens": 14,
        "answer_tokens": 5 + 2,
        "tokens_cut_off": 3 + 17,
        "examples_cut_off": 2,
        "examples_left_out": 1,
    } | dict.fromkeys(differences.WORDS, 0)


def test_a_split_of_which_every_example_is_left_out_is_refused_in_one_line(tmp_path, monkeypatch, tokenizer):
    monkeypatch.setattr(prepare, "load_encoder", lambda record, template, rows: encoder(tokenizer, template))
    inputs = {name: str(tmp_path / f"{name}.json") for name in ("model", "examples")}
    for path in inputs.values():
        records.write_json(path, {"digest": "", "architecture_only": False})
    inputs |= dict.fromkeys(("train", "validation"), str(tiny.write_sums(tmp_path / "rows.jsonl", 5, 0)))
    job = {"request": {"template": "A long preface. {question}", "max_length": 8}, "input": inputs, "output": {}}
    with pytest.raises(UserError) as refusal:
        prepare.tokenize_data(job)
    assert str(refusal.value) == (
        "data.max_length: got 8, takes room for an answer: all 5 train examples are left out, "
        "as what is asked, with data.template around it, is as long alone"
    )


def test_a_split_of_which_nothing_is_learned_is_refused_by_its_weights(tmp_path, monkeypatch, tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '<eos>' }}{% endfor %}"
    own = ChatEncoder(tokenizer, 10**6, (tokenizer.eos_token_id,))
    monkeypatch.setattr(prepare, "load_encoder", lambda *_: own)
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]
    inputs = {name: str(tmp_path / f"{name}.json") for name in ("model", "examples")}
    for path in inputs.values():
        records.write_json(path, {"digest": "", "architecture_only": False})
    inputs |= {
        name: lines(tmp_path / "rows.jsonl", {"messages": said})["train_file"] for name in ("train", "validation")
    }
    job = {"request": {"template": None, "max_length": 64, "loss_turns": "all"}, "input": inputs, "output": {}}
    with pytest.raises(UserError) as refusal:
        prepare.tokenize_data(job)
    assert str(refusal.value) == (
        "data: all 1 train examples are left out, 1 of them as weight: 0 is on each turn that data.loss_turns has "
        "learned; takes turns of weight 1, or without one"
    )


def refused_by_a_template(folder, monkeypatch, tokenizer, train_file, gone: bool = False) -> str:
    """The line for conversations of a file of which all that an assistant begins make the template raise."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = (
        "{% if messages[0]['role'] != 'user' %}{{ raise_exception('a user comes first') }}{% endif %}"
        "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '<eos>' }}{% endfor %}"
    )
    monkeypatch.setattr(prepare, "load_encoder", lambda *_: ChatEncoder(tokenizer, 10**6, (tokenizer.eos_token_id,)))
    data = {"source": "file", "train_file": str(train_file)}
    section = schema.resolve({"model": {"source": "path", "path": "."}, "data": data, "steps": 1})["data"]
    paths = {name: str(folder / f"{name}.json") for name in ("model", "train", "validation", "examples", "tokens")}
    records.write_json(paths["model"], {"digest": ""})
    prepare.fetch_data({"request": {"data": section}, "output": paths})
    if gone:
        train_file.rename(folder / "elsewhere")
    job = {"request": {"template": "chat", "max_length": 64, "loss_turns": "all"}, "input": paths, "output": paths}
    with pytest.raises(UserError) as refusal:
        prepare.tokenize_data(job)
    return str(refusal.value)


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_what_a_template_refuses_is_named_by_its_place_in_the_users_own_file(tmp_path, monkeypatch, tokenizer, ending):
    """In a folder of two files, shuffled before they are split, its place is that of neither all rows nor a split."""
    rows = []
    for number in range(23):
        said = [("user", f"Say {number}"), ("assistant", f"Dis {number}")]
        said = [("assistant", "Hello"), *said] if number == 22 else said
        rows.append({"messages": [{"role": role, "content": text} for role, text in said]})
    folder = tmp_path / "chats"
    folder.mkdir()
    for name, part in {"first": rows[:20], "second": rows[20:]}.items():
        path = folder / f"{name}.{ending}"
        texts = [json.dumps(one) for one in part]
        if ending == "parquet":
            datasets.Dataset.from_list(part).to_parquet(path)
        else:
            path.write_text("\n".join(texts) if ending == "jsonl" else "[" + ",\n".join(texts) + "]", "utf-8")
    monkeypatch.setattr("frontier.model.data.chat_tokens._MOST_REFUSED", 0.0)
    said = refused_by_a_template(tmp_path, monkeypatch, tokenizer, folder)
    assert " of " in said
    assert f"({folder}/second.{ending}:3: the template raises: a user comes first)" in said
    said = refused_by_a_template(tmp_path, monkeypatch, tokenizer, folder, gone=True)
    assert re.search(rf"\({tmp_path}/\w+\.json:\d+: the template raises: a user comes first\)", said)


def test_borrowed_tokenizer_stays_inside_the_vocabulary(tokenizer):
    rows = [{"question": "zebra", "answer": "#### 7"}]
    borrowed = Encoder(tokenizer, "{question}\n", 50, (tokenizer.eos_token_id,), borrowed=True)
    (example,), _ = tokenize(rows, borrowed, 64)
    assert max(example["input_ids"]) < 50
    assert max(example["labels"]) < 50


def test_tokens_survive_the_file(tmp_path, tokenizer):
    rows = read_lines(str(tiny.write_sums(tmp_path / "rows.jsonl", 5, 0)))
    examples, _ = tokenize(rows, encoder(tokenizer, "{question}"), 64)
    write_tokens(examples, str(tmp_path / "tokens.parquet"))
    assert load_tokens(str(tmp_path / "tokens.parquet")) == examples
