"""A configuration's file as it is written: what is lost once it is read is refused in one line."""

import pytest
from frontier.errors import UserError
from frontier.study import config_files


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ranks: [4]\nseeds: [0]\nranks: [8]", "config: ranks: stands twice in a.yaml, in lines 1 and 3; leave one"),
        (
            "data: {source: hub,\n  source: jsonl}",
            "config: data.source: stands twice in a.yaml, in lines 1 and 2; leave",
        ),
        ("cards:\n- {a: 1}\n- {b: 1, b: 2}", "config: cards.1.b: stands twice in a.yaml, in lines 3 and 3; leave one"),
        ('{\n\t"ranks": [4],\n\t"ranks": [8]\n}', 'config: a.yaml has "ranks" twice; leave one'),
        ('{"a\\nb": 1, "a\\nb": 2}', r"config: a\nb: stands twice in a.yaml, in lines 1 and 1; leave one"),
        ("budget: {hours: 1:30}", "config: budget.hours: got 1:30 in a.yaml, which YAML reads as 90; write the number"),
        ("budget: {hours: 1:30:00.5}", "config: budget.hours: got 1:30:00.5 in a.yaml, which YAML reads as 5400.5; wr"),
        ("seeds: [0, 010]", "config: seeds.1: got 010 in a.yaml, which YAML reads as 8; write the number in digits"),
    ],
)
def test_what_reads_otherwise_than_it_is_written_is_refused(tmp_path, monkeypatch, text, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError) as refusal:
        config_files.check(["a.yaml"])
    assert str(refusal.value).startswith(line)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\ufeffranks: [4]",
        "ranks: [4]\r\nseeds: [0]\r\n",
        "a: &all [1, 2]\nb: *all",
        "a: &all {x: 1}\nb: {<<: *all, x: 2}",
        "a: &all [*all]",
        'a: "1:30"\nb: "010"\nc: 0\nd: 0.5\ne: 2e-4\nf: 1_000\ng: 0x10\nh: 2026-11-30',
        '{"a": 1,\n\t"b": 2}',
        "a: yes\nb: no\nc: ~",
    ],
)
def test_what_is_read_as_it_is_written_passes(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8", newline="")
    config_files.check([str(tmp_path / "a.yaml")])


@pytest.mark.parametrize(("encoding", "byte"), [("utf-16", 0), ("latin-1", 5)])
def test_a_file_in_another_encoding_is_refused(tmp_path, monkeypatch, encoding, byte):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("# caf\u00e9\nranks: [4]", encoding=encoding)
    with pytest.raises(UserError, match=rf"config: a.yaml is no text in UTF-8 \(its byte {byte} .*; save it as UTF-8$"):
        config_files.check(["a.yaml"])
