"""What others have published: the file as it is read and refused, and how a statement follows from its judge."""

import datetime
import re

import pytest
import yaml
from frontier import paths
from frontier.errors import UserError
from frontier.results import findings
from frontier.results.claims import published
from frontier.results.claims.claim import claim
from tables import curve, results

STUDY, JUDGES = ["knee"], ["knee", "nf4_speedup"]
ENTRY = {"id": "one", "source": "A paper", "date": "2024-05", "statement": "Rank pays.", "judge": "knee"}
NOT_JUDGED = {"judge": None, "takes": "it takes another trainer"}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that puts a text or entries in the place of config/claims.yaml and reads them."""

    def put(content) -> list[dict]:
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        (tmp_path / "claims.yaml").write_text(text, encoding="utf-8")
        monkeypatch.setattr(paths, "CLAIMS", tmp_path / "claims.yaml")
        return published.read(STUDY, JUDGES)

    return put


def changed(**changes) -> list[dict]:
    return [{key: value for key, value in (ENTRY | changes).items() if value != "left out"}]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("- id: [", "no YAML in line 1; takes a list of published claims"),
        ("one: two", "takes a list of published claims, each with id"),
        ("- one", "entry 1: takes the keys id, source, date, statement, judge"),
        (changed(source="left out"), "entry 1: source: missing; takes who states it, and where"),
        (changed(jugde="knee"), "entry 1: jugde: unknown key; takes id, source"),
        (changed(id="A claim"), "entry 1: id: got A claim; takes small letters"),
        (changed(id="knee"), "entry 1: id: got knee; takes small letters, digits and _, and no other claim's"),
        ([ENTRY, ENTRY], "entry 2: id: got one; takes"),
        (changed(source=" "), "entry 1: source: got  ; takes who states it"),
        (changed(date="May 2024"), "entry 1: date: got May 2024; takes YYYY, YYYY-MM or YYYY-MM-DD, or unknown"),
        (changed(date=None), "entry 1: date: got None; takes YYYY"),
        (changed(statement=None), "entry 1: statement: got nothing; takes what is stated"),
        (changed(statement=["one"]), "entry 1: statement: got"),
        (changed(judge="nobody"), "entry 1: judge: got nobody; takes the id of the claim that judges it here, or null"),
        (changed(holds_where="inconclusive"), "entry 1: holds_where: got inconclusive; takes the judge's verdict"),
        (changed(judge=None), "entry 1: takes: got nothing; takes what it would take to judge it"),
        (changed(takes="it takes more"), "entry 1: takes: got it takes more; takes"),
        (changed(against="two"), "entry 1: against: got two; takes the id of a statement of the same source"),
        (changed(against="one"), "entry 1: against: got one"),
        ([ENTRY, *changed(id="two", source="Another", against="one")], "entry 2: against: got one"),
    ],
)
def test_a_file_that_is_no_such_list_is_refused_in_one_line(write, content, told):
    with pytest.raises(UserError, match=re.escape(f"config/claims.yaml: {told}")) as refusal:
        write(content)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CLAIMS", tmp_path / "claims.yaml")
    with pytest.raises(UserError, match=r"config/claims\.yaml: .*takes a list of published claims"):
        published.read(STUDY, JUDGES)


@pytest.mark.parametrize("date", [2024, "2024-05", datetime.date(2024, 5, 6), "unknown"])
def test_dates_are_read_as_yaml_has_them(write, date):
    assert write(changed(date=date))[0]["date"] == str(date)


def test_an_empty_list_leaves_the_study_alone(write):
    assert write("# nothing\n") == []
    claims = findings.state(results(curve("nf4", {8: 4.0, 16: 3.3, 32: 3.0})))
    assert {one["part"] for one in claims} == {"study"}
    assert "held against your runs.\nNone are listed.\n" in findings.markdown(claims)


@pytest.mark.parametrize(
    ("verdict", "opposite"),
    [
        ("supported", "contradicted"),
        ("contradicted", "supported"),
        ("inconclusive", "inconclusive"),
        ("not_measured", "not_measured"),
    ],
)
def test_a_statement_has_its_judges_verdict_or_the_opposite(write, verdict, opposite):
    entries = write([ENTRY, *changed(id="two", holds_where="contradicted", against="one")])
    judged = {"knee": claim("knee", verdict, "A knee.", ["nf4-r8-s0"], {"knee": 8})}
    one, two = published.hold(entries, judged)
    assert (one["verdict"], two["verdict"]) == (verdict, opposite)
    assert one["evidence"] == two["evidence"] == judged["knee"]["evidence"]
    assert one["sentence"] == two["sentence"] == "A knee."
    told = {"source": "A paper", "date": "2024-05", "statement": "Rank pays.", "judge": "knee"}
    assert one["published"] == told | {"against": None}
    assert two["published"] == told | {"against": "one"}


def test_a_statement_without_a_judge_says_what_it_takes(write):
    (one,) = published.hold(write(changed(**NOT_JUDGED)), {})
    assert (one["verdict"], one["sentence"]) == ("not_measured", "Not measured: it takes another trainer.")


def test_every_published_claim_has_a_source_and_is_found_once():
    claims = findings.state(results(curve("nf4", {8: 4.0, 16: 3.3, 32: 3.0})))
    assert len({one["id"] for one in claims}) == len(claims)
    others = [one for one in claims if one["part"] == "others"]
    assert all(one["published"]["source"] and one["published"]["date"] for one in others)
    assert {one["published"] for one in claims if one["part"] == "study"} == {None}
    told = " ".join(one["published"]["source"] for one in others)
    for name in ("QLoRA", "LoRA Without Regret", "Unsloth", "LLaMA-Factory", "this project began with"):
        assert name in told


def test_judges_of_others_alone_are_judged_for_somebody():
    judges = {one["judge"] for one in published.read([], [one.__name__ for one in (*findings.STUDY, *findings.STATED)])}
    assert {one.__name__ for one in findings.STATED} <= judges
