"""Files of examples as the libraries of their origin write them, in every form that rows have."""

import bz2
import gzip
import json
import re

import datasets
import pandas as pd
import pyarrow
import pytest
from conftest import ROOT
from frontier.errors import UserError
from frontier.model.data import formats, told
from frontier.model.data.conversations import ROLES
from frontier.model.data.examples import read_examples
from frontier.model.data.files import example_files
from frontier.study.keys.configuration import names_of
from frontier.study.schema import resolve
from pyarrow import feather

COUNT = 10
# Texts that a reader who guesses at types makes something else of.
TEXTS = ["007", "1.50", "2026-01-01", "null", "NaN", "true", "1e5", "[1]", "12:30", "0x1f"]
# A number among texts, at which datasets takes all of a column for JSON.
QUESTIONS = [{"question": text, "answer": text} for text in TEXTS]
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern", "days": 2}'}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def openai(index: int) -> dict:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"Weather {index}?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
        {"role": "assistant", "reasoning_content": "It says sun.", "content": "Sun."},
    ]
    return {"messages": turns, "tools": TOOLS}


def sharegpt(index: int) -> dict:
    turns = [{"from": "human", "value": f"Hello {index}"}, {"from": "gpt", "value": "Hi."}]
    return {"conversations": turns, "system": "Be brief."}


ROWS = {
    "question-answer": QUESTIONS,
    "prompt-completion": [{"prompt": text, "completion": text} for text in TEXTS],
    "alpaca": [{"instruction": "Double", "input": text, "output": text} for text in TEXTS],
    "messages": [openai(index) for index in range(COUNT)],
    "sharegpt": [sharegpt(index) for index in range(COUNT)],
    "text": [{"text": text} for text in TEXTS],
}


def examples(rows: list[dict]) -> list[dict]:
    """The examples that rows should become, in order, written out by hand."""
    found = []
    for index, row in enumerate(rows):
        if "messages" in row:
            call = {"id": "c1", "type": "function"}
            call["function"] = {"name": "weather", "arguments": {"city": "Bern", "days": 2}}
            turns = [dict(turn) for turn in row["messages"]]
            turns[2] |= {"content": "", "tool_calls": [call]}
            found.append({"messages": turns, "tools": TOOLS})
        elif "conversations" in row:
            said = [("system", "Be brief."), ("user", f"Hello {index}"), ("assistant", "Hi.")]
            found.append({"messages": [{"role": role, "content": text} for role, text in said]})
        elif "instruction" in row:
            found.append({"question": f"Double\n\n{row['input']}", "answer": row["output"]})
        elif "prompt" in row:
            found.append({"question": row["prompt"], "answer": row["completion"]})
        else:
            found.append(row)
    return found


def section(path, **changes) -> dict:
    data = {"source": "file", "train_file": str(path), "split": "order"} | changes
    return resolve({"model": {"source": "path", "path": "."}, "data": data, "steps": 1})["data"]


def read(path, **changes) -> list[dict]:
    splits, _ = read_examples(section(path, **changes))
    return splits["train"] + splits["validation"]


def nested(rows: list[dict]) -> list[dict]:
    """Rows as a table of plain columns has them: what is nested is JSON."""
    return [{k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows]


def write_csv(rows, path):
    pd.DataFrame(nested(rows)).to_csv(path, index=False)


def write_arrow(rows, folder):
    datasets.Dataset.from_list(rows).save_to_disk(folder)


WRITERS = {
    "pandas-lines.jsonl": lambda rows, path: pd.DataFrame(rows).to_json(path, orient="records", lines=True),
    "pandas-array.json": lambda rows, path: pd.DataFrame(rows).to_json(path, orient="records", indent=2),
    "json-array.json": lambda rows, path: path.write_text(json.dumps(rows), "utf-8"),
    "pandas.csv": write_csv,
    "pandas.tsv": lambda rows, path: pd.DataFrame(nested(rows)).to_csv(path, index=False, sep="\t"),
    "excel.csv": lambda rows, path: pd.DataFrame(nested(rows)).to_csv(path, index=False, sep=";", encoding="utf-8-sig"),
    "pandas.parquet": lambda rows, path: pd.DataFrame(rows).to_parquet(path),
    "pandas.feather": lambda rows, path: feather.write_feather(pd.DataFrame(rows), path),
    "datasets.jsonl": lambda rows, path: datasets.Dataset.from_list(rows).to_json(path),
    "datasets.csv": lambda rows, path: datasets.Dataset.from_list(nested(rows)).to_csv(path),
    "datasets.parquet": lambda rows, path: datasets.Dataset.from_list(rows).to_parquet(path),
    "datasets-folder": write_arrow,
}


@pytest.mark.parametrize("form", ROWS)
@pytest.mark.parametrize("writer", WRITERS)
def test_each_form_is_read_from_what_each_library_writes(tmp_path, form, writer):
    path = tmp_path / writer
    WRITERS[writer](ROWS[form], path)
    assert read(path) == examples(ROWS[form])
    assert read(path, format=form) == examples(ROWS[form])


def test_both_names_of_the_source_take_every_file(tmp_path):
    WRITERS["pandas.parquet"](QUESTIONS, tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet", source="jsonl") == QUESTIONS


def test_the_forms_that_a_configuration_takes_are_those_that_are_read():
    assert [*ROWS] == [*formats.FORMATS]
    for form in formats.FORMATS:
        assert section(".", format=form)["format"] == form
    assert "loss_turns" in names_of("tokens")


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "arrow"])
def test_of_a_table_only_columns_that_are_used_are_read(tmp_path, monkeypatch, kind):
    rows = [one | {"other": "x" * 1000} for one in QUESTIONS]
    if kind == "arrow":
        table = pyarrow.Table.from_pylist(rows)
        with pyarrow.OSFile(str(tmp_path / "rows.arrow"), "wb") as file, pyarrow.ipc.new_file(file, table.schema) as to:
            to.write_table(table)
    else:
        WRITERS[f"datasets.{kind}"](rows, tmp_path / f"rows.{kind}")
    seen = []
    plain = formats.read_rows

    def spied(placed, *rest):
        for where, row in placed:
            seen.append(set(row))
            yield from plain([(where, row)], *rest)

    monkeypatch.setattr("frontier.model.data.readers.read_rows", spied)
    assert read(tmp_path / f"rows.{kind}") == QUESTIONS
    assert ("other" in seen[0]) == (kind == "jsonl")


def test_a_folder_is_all_its_files_in_the_order_of_their_names(tmp_path):
    write_csv(QUESTIONS[:4], tmp_path / "b.csv")
    WRITERS["datasets.jsonl"](QUESTIONS[4:], tmp_path / "c.jsonl")
    (tmp_path / "a.json").write_text("[]")
    (tmp_path / ".hidden.csv").write_text("question,answer\n1,2\n")
    (tmp_path / "README.md").write_text("What these are.")
    assert [path[-6:] for path in example_files(str(tmp_path))] == ["a.json", "/b.csv", ".jsonl"]
    assert read(tmp_path) == QUESTIONS


def test_a_folder_of_splits_names_them(tmp_path):
    datasets.DatasetDict({"train": datasets.Dataset.from_list(QUESTIONS)}).save_to_disk(tmp_path / "both")
    with pytest.raises(UserError, match=r"has none; name one of its folders: train$"):
        read(tmp_path / "both")


def test_a_number_is_taken_as_its_text_and_told_once(tmp_path):
    lines = ['{"question": "a", "answer": 1.50}', '{"question": 007, "answer": "x"}', '{"question": 7, "answer": "y"}']
    lines[1] = '{"question": 1e3, "answer": -0}'
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    splits, counts = read_examples(section(tmp_path / "rows.jsonl", validation_examples=1))
    assert splits["train"] == [{"question": "a", "answer": "1.50"}, {"question": "1e3", "answer": "-0"}]
    assert splits["validation"] == [{"question": "7", "answer": "y"}]
    assert "note: numbers taken as their text: 2 of answer, 2 of question" in told.lines(counts, 2, 1, "")


def test_texts_of_the_hub_stay_what_they_are_beside_a_number(tmp_path, monkeypatch):
    """datasets takes such a column for JSON: 7 for "007", nothing for "null"."""
    rows = [{"question": text, "answer": "x"} for text in ("007", "1.50", "null", "plain")]
    rows.append({"question": 5, "answer": "x"})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = datasets.load_dataset("json", data_files=str(tmp_path / "rows.jsonl"), split="train", cache_dir=tmp_path)
    assert table[0]["question"] == 7
    monkeypatch.setattr("datasets.load_dataset", lambda *arguments, **options: table)
    data = {"source": "hub", "id": "owner/name", "split": "order", "validation_examples": 1}
    section = resolve({"model": {"source": "path", "path": "."}, "data": data, "steps": 1})["data"]
    splits, _ = read_examples(section)
    found = [one["question"] for one in splits["train"] + splits["validation"]]
    assert found == ["007", "1.50", "null", "plain", "5"]


def test_an_instruction_whose_input_is_not_read_is_told(tmp_path):
    """45 rows of one instruction are 45 examples, on one side; and where their input is left out, a line says so."""
    rows = [{"instruction": "Double", "input": str(i), "output": str(2 * i)} for i in range(45)]
    rows += [{"instruction": f"Do {i}", "input": "", "output": "done"} for i in range(5)]
    WRITERS["datasets.jsonl"](rows, tmp_path / "rows.jsonl")
    splits, counts = read_examples(section(tmp_path / "rows.jsonl", split="shuffled"))
    assert (len(splits["train"]), len(splits["validation"])) == (40, 10)
    named = {"question_column": "instruction", "answer_column": "output"}
    splits, counts = read_examples(section(tmp_path / "rows.jsonl", split="shuffled", **named))
    assert (len(splits["train"]), len(splits["validation"])) == (45, 5)
    assert any("data.format: alpaca reads both" in line for line in told.lines(counts, 45, 5, ""))


def turns(*said) -> dict:
    return {"messages": [{"role": role, "content": content} for role, content in said]}


REFUSED = [
    ('[\n{"question": "a", "answer": "b"},\n{"question": "c",,}]', "rows:3: not JSON (Expecting property name"),
    ('[\n{"question": "a", "answer": "b"}\n{"question": "c"}]', "rows:3: not JSON (the array goes on without a comma"),
    ('[{"question": "a", "answer": "b"}] x', "rows:1: not JSON (text behind the array's end)"),
    ('{"question": "a"', "rows:1: not JSON (Expecting ',' delimiter"),
    (
        {"prompts": "a"},
        'rows:1: has ["prompts"], takes the columns of one form: question and answer; messages; conversations; '
        "conversation; instruction and output; prompt and completion; text; data.question_column and",
    ),
    ({"prompt": [], "completion": []}, 'rows:1: prompt and completion are lists of messages; df["messages"] = df["'),
    ("[1, 2]", "rows:1: takes an object with the columns of a form, such as question and answer, got 1; df.to_json("),
    ('["a"]', 'rows:1: takes an object with the columns of a form, such as question and answer, got "a"; df.to_json('),
    (
        "[[1.50]]",
        "rows:1: takes an object with the columns of a form, such as question and answer, got [1.5]; df.to_js",
    ),
    ("\n\nnull\n", "rows:3: takes an object with the columns of a form, such as question and answer, got null; df.to"),
    ('[{"question": "a", "answer": "b"},\n5]', "rows:2: takes an object with question and answer, got 5; df.to_json("),
    ('\n[\n{"prompts": 1}]', 'rows:3: has ["prompts"], takes the columns of one form'),
    ({"data": [{"question": "a"}]}, 'rows:1: has ["data"], takes the columns of one form'),
    (
        {"question": {"0": "a", "1": "b"}, "answer": {"0": "c", "1": "d"}},
        'rows:1: question takes a text that is not empty, got {"0": "a", "1": "b"}; df.to_json(path, orient="records", '
        "lines=True) writes a row a line",
    ),
    (
        {"question": ["a"], "answer": "b"},
        'rows:1: question takes a text that is not empty, got ["a"]; df = df.explode(',
    ),
    (
        {"messages": "hi"},
        'rows:1: messages takes a list of messages, got "hi"; in a CSV json.dumps writes the list into',
    ),
    (
        {"messages": []},
        'rows:1: messages takes a list of messages, got []; df = df[df["messages"].str.len() > 0] leaves',
    ),
    ({"messages": None}, 'rows:1: messages takes a list of messages, got null; df = df[df["messages"].str.len() > 0]'),
    ({"messages": ["hi"]}, 'rows:1: messages[0]: takes an object with role and content, or from and value, got "hi"'),
    (turns(("user", "a"), ("narrator", "b")), "rows:1: messages[1]: role takes one of system, developer, user, human"),
    (turns((None, "a")), "rows:1: messages[0]: role takes one of system, developer, user, human, assistant, gpt,"),
    (
        turns(("user", {"a": 1})),
        'rows:1: messages[0]: content takes a text, got {"a": 1}; json.dumps makes one of it',
    ),
    (turns(("user", [{"type": "image_url"}])), 'rows:1: messages[0]: content takes texts, got a part of "image_url"'),
    (turns(("user", "\ud83d")), "rows:1: messages[0]: content takes a text, got one with"),
    (
        {
            "messages": [
                {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}
            ]
        },
        'rows:1: messages[0]: arguments: takes JSON, got "{"',
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
        "rows:1: messages[0]: tool_calls takes calls with a function's name and arguments, got",
    ),
    ({"messages": [{"role": "assistant", "content": "a", "weight": 2}]}, "rows:1: messages[0]: weight takes 0, not"),
    (turns(("user", "a"), ("assistant", "b")) | {"tools": ["f"]}, "rows:1: tools takes a list of tools, as OpenAI has"),
    (
        turns(("user", "a"), ("assistant", "b")) | {"tools": 5},
        "rows:1: tools takes a list of tools, as OpenAI has them,",
    ),
    (
        turns(("user", "a"), ("assistant", "b")) | {"system": ["f"]},
        "rows:1: system: content takes texts, got a part of",
    ),
    (
        json.dumps(turns(("user", "a"), ("assistant", "b"))) + '\n{"question": "a", "answer": "b"}\n',
        'rows:2: has no messages, has ["question", "answer"]; each row takes messages here',
    ),
]


@pytest.mark.parametrize(("bad", "line"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_malformed_names_file_and_line_and_what_it_takes(tmp_path, bad, line):
    (tmp_path / "rows").write_text(bad if isinstance(bad, str) else json.dumps(bad) + "\n")
    with pytest.raises(UserError) as refusal:
        read(tmp_path / "rows")
    assert str(refusal.value).startswith(f"{tmp_path}/{line}")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("rows.csv", b"question,answer\na,b\na,b,c\n", "rows.csv:3: has 3 cells, takes 2 as the head has; write it by"),
        (
            "rows.csv",
            b'question,answer\na,b\n"a\n,b',
            "rows.csv:3: not CSV (unexpected end of data); write it by df.to",
        ),
        ("rows.csv", b"question,question\na,b\n", 'rows.csv:1: has the column "question" twice; takes a head of'),
        ("rows.csv", b'question,answer\n"a\nb",c\n,d\n', "rows.csv:4: question takes a text that is not empty, got"),
        ("rows.csv", "question,answer\nb\xe9,c\n".encode("cp1252"), "rows.csv:2: not UTF-8; save it as UTF-8, say by"),
        ("rows.jsonl.gz", gzip.compress(b"{}", mtime=0), "rows.jsonl.gz:1: packed by gzip; gunzip unpacks it"),
        ("rows.xlsx", b"PK\x03\x04\x14\x00", "rows.xlsx:1: packed by zip, as workbooks are; unzip"),
        ("rows.jsonl.bz2", bz2.compress(b"{}"), "rows.jsonl.bz2:1: packed by bzip2; bunzip2 unpacks it"),
        ("rows.pkl", b"\x80\x04\x95\x00\x00", "rows.pkl:1: no text and none of the files that are read; takes one obj"),
        ("rows.csv", "question,answer\nb,c\n".encode("utf-16"), "rows.csv:1: not UTF-8; save it as UTF-8, say by Path"),
        ("rows", b"PAR1 and no more", "rows: is no whole file of parquet ("),
        ("rows", b"ARROW1 and no more", "rows: is no whole file of Arrow ("),
    ],
)
def test_a_file_that_is_not_whole_names_file_and_line_and_how_to_write_it(tmp_path, name, content, line):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as refusal:
        read(tmp_path / name)
    assert str(refusal.value).startswith(f"{tmp_path}/{line}")
    assert "\n" not in str(refusal.value)


EMPTY = "has no rows; data.train_file takes a file, or a folder of files, of examples"


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", ""), ("a.jsonl", " \n\n"), ("a.json", "[]"), ("a.csv", ""), ("a.csv", "question,answer\n")],
)
def test_a_file_without_rows_is_named(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(UserError) as refusal:
            read(path)
        assert str(refusal.value) == f"{path}: {EMPTY}"
    WRITERS["datasets.jsonl"](QUESTIONS, tmp_path / "full.jsonl")
    with pytest.raises(UserError) as refusal:
        read(tmp_path / "full.jsonl", validation_file=str(tmp_path / name))
    assert str(refusal.value) == f"{tmp_path}/{name}: {EMPTY.replace('train', 'validation')}"


def test_a_table_without_rows_is_named(tmp_path, monkeypatch):
    nothing = pd.DataFrame({"question": [], "answer": []})
    nothing.to_parquet(tmp_path / "a.parquet")
    feather.write_feather(nothing, tmp_path / "a.feather")
    for name in ("a.parquet", "a.feather"):
        with pytest.raises(UserError) as refusal:
            read(tmp_path / name)
        assert str(refusal.value) == f"{tmp_path}/{name}: {EMPTY}"
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: datasets.Dataset.from_dict({"question": []}))
    data = {"source": "hub", "id": "owner/name"}
    with pytest.raises(UserError, match=r"^owner/name/train: has no rows; takes a split that has examples$"):
        read_examples(resolve({"model": {"source": "path", "path": "."}, "data": data, "steps": 1})["data"])


def test_rows_that_are_all_left_out_are_told_by_why(tmp_path):
    rows = [
        turns(("user", "a")),
        turns(("user", " "), ("assistant", "b")),
        *[turns(("user", "c"), ("assistant", "d"))] * 3,
    ]
    (tmp_path / "rows").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError) as refusal:
        read(tmp_path / "rows")
    assert str(refusal.value) == (
        "data: takes two examples at least where some are held out for validation; 1 left of 5 rows: 2 repeat another, "
        "1 are conversations without an assistant's turn, 1 are conversations with an empty turn"
    )


def test_columns_of_another_form_are_told_unless_one_was_chosen(tmp_path):
    rows = [one | turns(("user", one["question"]), ("assistant", "b")) | {"text": "t"} for one in QUESTIONS]
    (tmp_path / "rows").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, counts = read_examples(section(tmp_path / "rows"))
    note = "note: read as question-answer; not read are the columns of other forms: messages, text; data.format names"
    assert any(line.startswith(note) for line in told.lines(counts, 8, 2, ""))
    _, counts = read_examples(section(tmp_path / "rows", format="messages"))
    assert (counts["forms"], counts["other_forms"]) == (["messages"], [])


def test_an_infinity_is_taken_as_it_is_written(tmp_path):
    (tmp_path / "rows").write_text('{"question": "a", "answer": -Infinity}\n{"question": "b", "answer": Infinity}\n')
    assert [one["answer"] for one in read(tmp_path / "rows", validation_examples=1)] == ["-Infinity", "Infinity"]


def test_what_openai_called_functions_is_read_as_tools(tmp_path):
    function = {"name": "weather", "parameters": {"type": "object"}}
    call = {"name": "weather", "arguments": '{"city": "Bern"}'}
    said = [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": None, "function_call": call},
        {"role": "function", "name": "weather", "content": "no"},
        {"role": "assistant", "content": "No."},
    ]
    rows = [{"messages": said, "functions": [function]}, turns(("user", "a"), ("assistant", "b")) | {"tools": []}]
    (tmp_path / "rows").write_text("".join(json.dumps(row) + "\n" for row in rows))
    splits, counts = read_examples(section(tmp_path / "rows", validation_examples=1))
    assert counts["fields_not_read"] == counts["conversations"] == {}
    (example,), (other,) = splits["train"], splits["validation"]
    assert example["tools"] == [{"type": "function", "function": function}]
    called = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Bern"}}}
    assert example["messages"][1] == {"role": "assistant", "content": "", "tool_calls": [called]}
    assert example["messages"][2]["role"] == "tool"
    assert other == turns(("user", "a"), ("assistant", "b"))


def test_an_instruction_in_a_column_is_read_and_told_where_there_are_two(tmp_path):
    said = [turns(("user", f"u{i}"), ("assistant", "a")) for i in range(3)]
    two = turns(("system", "Own."), ("user", "u"), ("assistant", "a"))
    rows = [
        said[0] | {"system": "Be brief."},
        said[1] | {"system": 5},
        said[2] | {"system": None},
        two | {"system": "No."},
    ]
    (tmp_path / "rows").write_text("".join(json.dumps(row) + "\n" for row in rows))
    splits, counts = read_examples(section(tmp_path / "rows", validation_examples=1))
    first, second, third = splits["train"]
    assert first["messages"][0] == {"role": "system", "content": "Be brief."}
    assert second["messages"][0] == {"role": "system", "content": "5"}
    assert [third, *splits["validation"]] == [said[2], two]
    assert counts["systems_not_read"] == 1
    assert any("1 conversations have an instruction of their own" in line for line in told.lines(counts, 3, 1, ""))


def test_a_weight_that_a_table_has_made_a_decimal_of_is_one(tmp_path):
    last = {"role": "assistant", "content": "b", "weight": 0.0}
    rows = [{"messages": [{"role": "user", "content": text}, last]} for text in "ab"]
    pd.DataFrame(rows).to_parquet(tmp_path / "rows")
    assert [one["messages"][1]["weight"] for one in read(tmp_path / "rows", validation_examples=1)] == [0, 0]


def test_a_form_that_is_named_is_the_form_that_is_read(tmp_path):
    (tmp_path / "rows").write_text('{"question": "a", "answer": "b"}\n')
    with pytest.raises(UserError, match=r"takes instruction and output with data\.format alpaca; df\.rename"):
        read(tmp_path / "rows", format="alpaca")


def test_a_date_is_no_text_until_somebody_says_how(tmp_path):
    pd.DataFrame({"question": pd.to_datetime(["2026-01-01"] * 2), "answer": "a"}).to_parquet(tmp_path / "rows")
    with pytest.raises(UserError, match=r'rows:1: question takes a text .* df\["question"\]\.astype\(str\)'):
        read(tmp_path / "rows")


def test_conversations_are_left_out_or_kept_as_is_said_and_counted(tmp_path):
    fine = [turns(("user", f"u{i}"), ("assistant", "a")) for i in range(5)]
    odd = [
        turns(("user", "a")),
        turns(("user", " "), ("assistant", "a")),
        turns(("user", "a"), ("assistant", "")),
        turns(("assistant", "a"), ("user", "b"), ("assistant", "c")),
        turns(("user", "a"), ("user", "b"), ("assistant", "c")),
        turns(("user", "x"), ("assistant", "b"), ("user", "c")),
        turns(("system", ""), ("user", "y"), ("assistant", "b")),
    ]
    odd[3]["messages"][0]["mood"] = "good"
    odd[3]["messages"][1]["content"] = 5
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in fine + odd))
    splits, counts = read_examples(section(tmp_path / "rows.jsonl"))
    assert counts["numbers_as_text"] == {"content": 1}
    odd[3]["messages"][1]["content"] = "5"
    assert splits["train"] + splits["validation"] == fine + [
        {"messages": [{k: v for k, v in turn.items() if k != "mood"} for turn in row["messages"]]} for row in odd[3:]
    ]
    assert counts["conversations"] == {
        "without_answer": 1,
        "with_empty_turn": 2,
        "assistant_first": 1,
        "same_role_twice": 1,
        "trailing_turns": 1,
    }
    assert counts["fields_not_read"] == {"mood": 1}
    first, *notes = told.lines(counts, len(splits["train"]), len(splits["validation"]), "")
    assert (
        "1 left out: conversations without an assistant's turn, 2 left out: conversations with an empty turn" in first
    )
    assert any("1 conversations that an assistant's turn begins" in line for line in notes)
    assert "note: not read in messages: mood" in notes


def test_every_name_of_a_role_is_one_alone():
    names = [name for others in ROLES.values() for name in others]
    assert len(set(names)) == len(names)


BLOCK = re.compile(r"^```(\w+) ([\w-]+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_documentation_are_of_every_form_and_are_read(tmp_path):
    blocks = BLOCK.findall((ROOT / "docs/data.md").read_text("utf-8"))
    assert [form for _, form, _ in blocks] == [*formats.FORMATS]
    for ending, form, content in blocks:
        assert content.count("\n") == 3
        path = tmp_path / f"{form}.{ending}"
        path.write_text(content, encoding="utf-8")
        _, counts = read_examples(section(path, validation_examples=1))
        assert counts["forms"] == [form]
        assert counts["conversations"] == counts["numbers_as_text"] == {}
