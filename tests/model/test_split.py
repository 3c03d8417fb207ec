"""The split: drawn, in order, by groups, stratified; repeats, whole and near."""

import json

import pytest
from frontier.errors import UserError
from frontier.model.data import told
from frontier.model.data.examples import read_examples
from frontier.study.schema import resolve
from hypothesis import given, settings
from hypothesis import strategies as st

MODEL = {"model": {"source": "path", "path": "."}, "steps": 1}


def read(path, rows: list[dict], **changes):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_examples(resolve(MODEL | {"data": {"source": "file", "train_file": str(path)} | changes})["data"])


def qa(index: int, **more) -> dict:
    return {"question": f"{index} {'abcdefghij'[index % 10]}", "answer": f"#### {index}"} | more


def questions(splits: dict, name: str) -> list[str]:
    return [one["question"] for one in splits[name]]


def test_a_file_sorted_by_class_is_validated_on_every_class(tmp_path):
    rows = [qa(i, label="pos" if i < 50 else "neg") for i in range(100)]
    splits, _ = read(tmp_path / "rows", rows)
    assert len(splits["validation"]) == 20
    low = sum(int(q.split()[0]) < 50 for q in questions(splits, "validation"))
    assert 3 <= low <= 17
    splits, _ = read(tmp_path / "rows", rows, stratify_column="label")
    assert sum(int(q.split()[0]) < 50 for q in questions(splits, "validation")) == 10
    splits, _ = read(tmp_path / "rows", rows, split="order")
    assert questions(splits, "validation") == [qa(i)["question"] for i in range(80, 100)]
    assert questions(splits, "train") == [qa(i)["question"] for i in range(80)]


def test_the_seed_draws_the_split_and_nothing_else_does(tmp_path):
    rows = [qa(i) for i in range(60)]
    one, again, other = (read(tmp_path / "rows", rows, split_seed=seed)[0] for seed in (0, 0, 1))
    assert one == again
    assert set(questions(one, "validation")) != set(questions(other, "validation"))
    fewer, _ = read(tmp_path / "rows", rows, train_examples=7)
    assert fewer["train"] == one["train"][:7]


def test_training_examples_that_are_taken_of_more_are_drawn_too(tmp_path):
    """With a validation file as well: the first rows of a file that is sorted are of one class."""
    (tmp_path / "held").write_text(json.dumps({"question": "v", "answer": "a"}) + "\n")
    own = {"validation_file": str(tmp_path / "held")}
    splits, counts = read(tmp_path / "rows", [qa(i) for i in range(100)], train_examples=20, **own)
    assert max(int(q.split()[0]) for q in questions(splits, "train")) > 40
    assert counts["examples_not_taken"] == 80
    whole, _ = read(tmp_path / "rows", [qa(i) for i in range(100)], **own)
    assert questions(whole, "train") == [qa(i)["question"] for i in range(100)]


SEVERAL = st.lists(st.integers(0, 8), min_size=10, max_size=40).filter(lambda groups: len(set(groups)) > 1)


@given(groups=SEVERAL, seed=st.integers(0, 5), drawn=st.booleans())
@settings(max_examples=40, deadline=None)
def test_what_shares_a_group_or_a_question_is_on_one_side(tmp_path_factory, groups, seed, drawn):
    path = tmp_path_factory.mktemp("split") / "rows"
    rows = [{"question": f"{group} {i // 2}", "answer": f"a{i}", "site": group} for i, group in enumerate(groups)]
    how = {"group_column": "site", "split_seed": seed, "split": "shuffled" if drawn else "order"}
    splits, counts = read(path, rows, **how)
    assert counts["duplicates_left_out"] == 0
    assert len(splits["train"]) + len(splits["validation"]) == len(rows)
    site = {row["answer"]: row["site"] for row in rows}
    train, validation = ({site[one["answer"]] for one in splits[name]} for name in ("train", "validation"))
    assert not train & validation
    assert not set(questions(splits, "train")) & set(questions(splits, "validation"))


def test_rows_that_all_share_one_value_cannot_be_split(tmp_path):
    with pytest.raises(UserError, match=r"data\.group_column: all rows share one value or prompt"):
        read(tmp_path / "rows", [qa(i, site="a") for i in range(10)], group_column="site")


def test_the_same_question_with_other_answers_is_kept_on_one_side(tmp_path):
    rows = [{"question": f"q{i % 30}", "answer": f"a{i}"} for i in range(60)] + [{"question": "q0", "answer": "a0"}]
    splits, counts = read(tmp_path / "rows", rows)
    assert (len(splits["train"]), len(splits["validation"]), counts["duplicates_left_out"]) == (48, 12, 1)
    assert not set(questions(splits, "train")) & set(questions(splits, "validation"))
    line = told.lines(counts, 48, 12, "")[0]
    assert "48 to train on, 12 to validate on; 1 left out that repeat another" in line


def test_a_training_row_that_asks_what_the_validation_file_asks_is_left_out_and_counted(tmp_path):
    held = [{"question": "same", "answer": "b"}, {"question": "other", "answer": "c"}]
    (tmp_path / "held").write_text("".join(json.dumps(row) + "\n" for row in held))
    rows = [{"question": "same", "answer": "a"}, {"question": "other", "answer": "c"}, {"question": "x", "answer": "y"}]
    splits, counts = read(tmp_path / "rows", rows, validation_file=str(tmp_path / "held"))
    assert questions(splits, "train") == ["x"]
    assert (counts["duplicates_left_out"], counts["prompts_in_validation"]) == (1, 1)


NEAR = [
    {"question": "How many apples?", "answer": "1"},
    {"question": "How many pears?", "answer": "1"},
    {"question": "Straße 5", "answer": "1"},
    {"question": "12 + 3", "answer": "15"},
    {"question": "Don't cooperate in the U.S.", "answer": "1"},
    {"question": "\u0915\u093f", "answer": "1"},
]
HELD = [
    {"question": "how many  apples? ", "answer": "2"},
    {"question": "How many (17) APPLES", "answer": "2"},
    {"question": "STRASSE 6", "answer": "1"},
    {"question": "How many plums?", "answer": "2"},
    {"question": "13 + 3", "answer": "16"},
    {"question": "dont co-operate in the US!", "answer": "1"},
    {"question": "\u0915\u0940", "answer": "1"},
]


def test_near_repeats_are_counted_told_and_left_out_by_a_key(tmp_path):
    (tmp_path / "held").write_text("".join(json.dumps(row) + "\n" for row in HELD))
    own = {"validation_file": str(tmp_path / "held")}
    splits, counts = read(tmp_path / "rows", NEAR, **own)
    assert (len(splits["validation"]), counts["near_repeats"], counts["near_repeats_left_out"]) == (7, 4, 0)
    assert any("4 of 7 validation examples ask what a training" in line for line in told.lines(counts, 6, 7, ""))
    splits, counts = read(tmp_path / "rows", NEAR, near_repeats="leave-out", **own)
    # The last differs in a vowel, which Hindi writes as a mark on its letter.
    assert questions(splits, "validation") == ["How many plums?", "13 + 3", "\u0915\u0940"]
    assert (counts["near_repeats"], counts["near_repeats_left_out"]) == (0, 4)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"group_column": "site"}, ':1: has no site, has ["question", "answer"]; data.group_column takes a column'),
        ({"stratify_column": "label"}, ":1: has no label, has"),
        (
            {"group_column": "none"},
            ':1: none takes a value, which data.group_column splits by, got none; df.dropna(subset=["none"])',
        ),
        (
            {"stratify_column": "nan"},
            ":1: nan takes a value, which data.stratify_column splits by, got none; df.dropna(",
        ),
    ],
)
def test_a_column_that_rows_lack_is_named(tmp_path, changes, line):
    more = {"none": None, "nan": float("nan")} if {"none", "nan"} & {*changes.values()} else {}
    rows = [qa(i, **more) for i in range(9)]
    with pytest.raises(UserError) as refusal:
        read(tmp_path / "rows", rows, **changes)
    assert str(refusal.value).startswith(f"{tmp_path}/rows{line}")


def test_of_classes_too_small_for_all_to_validate_those_that_do_are_drawn_and_the_others_told(tmp_path):
    rows = [qa(i, label=i // 2) for i in range(40)]
    (one, counts), (other, _) = (read(tmp_path / "rows", rows, stratify_column="label", split_seed=s) for s in (0, 1))
    held = [{int(q.split()[0]) // 2 for q in questions(splits, "validation")} for splits in (one, other)]
    assert [len(labels) for labels in held] == [8, 8]
    assert held[0] != held[1]
    assert counts["strata_not_validated"] == 12
    note = "note: 12 values of data.stratify_column are in too few rows to be validated"
    assert note in told.lines(counts, 32, 8, "")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"group_column": "a", "stratify_column": "b"}, "config: data.stratify_column: got one beside data.group_colu"),
        ({"group_column": "a", "validation_file": "b"}, "config: data.group_column: got one with data.validation_file"),
    ],
)
def test_columns_that_split_nothing_are_refused(changes, line):
    with pytest.raises(UserError) as refusal:
        resolve(MODEL | {"data": {"source": "file", "train_file": "x"} | changes})
    assert str(refusal.value).startswith(line)


def test_few_examples_are_told_to_decide_nothing(tmp_path):
    few, enough = (read(tmp_path / "rows", [qa(i) for i in range(count)]) for count in (100, 200))
    warning = "warning: 20 validation examples decide nothing; take 30 or more, better hundreds"
    assert warning in told.lines(few[1], 80, 20, "")
    assert not any("decide nothing" in line for line in told.lines(enough[1], 160, 40, ""))
