"""The truth of an answer: one rule, which takes what is wholly a number and leaves out and counts all else."""

from decimal import Decimal

import pytest
from frontier.model.data import filters
from frontier.model.data.truths import count_truths, told, truth
from hypothesis import given
from hypothesis import strategies as st

NUMBERS = {
    "18": 18,
    "-5": -5,
    "\u22125": -5,
    "\u20135": -5,
    "\u20105": -5,
    "\ufe635": -5,
    "\uff0d5": -5,
    "+5": 5,
    "$18": 18,
    "-$5": -5,
    "$-5": -5,
    "\u2212$1,234.50": "-1234.5",
    "1,234": 1234,
    "1,234,567.25": "1234567.25",
    "8.0": 8,
    ".5": "0.5",
    "18.": 18,
    "0.10": "0.1",
    "007": 7,
    "-0": 0,
    "18\u00a0": 18,
    "18</s>": 18,
    "18 <|end_of_text|>\n": 18,
    "18<eos><eos>": 18,
    "12345678901234567890.123456789": "12345678901234567890.123456789",
}
NO_NUMBERS = [
    "",
    "3/4",
    "1 1/2",
    "\u00bd",
    "12:30",
    "1.234,50",
    "1.234.567",
    "1 000",
    "1\u00a0000",
    "1\u202f000",
    "1'000",
    "1_000",
    "12,34,567",
    "1,23",
    "1,2345",
    "0,5",
    "0,125",
    "-00,125",
    "0,123,456",
    "5,",
    "1e3",
    "1E3",
    "10^3",
    "2*3",
    "0x10",
    "5%",
    "5 km",
    "18 apples",
    "18$",
    "\u20ac18",
    "18 dollars",
    "5-6",
    "5\u20136",
    "- 5",
    "--5",
    "$$5",
    "\u20145",
    "\u0663",
    "\uff11\uff18",
    "nan",
    "inf",
    "Infinity",
    ".",
    "-",
    "1.2.3",
    "18..",
    "**18**",
    "\\boxed{18}",
    "18\nand more",
    "x = 18",
    "eighteen",
    "(18)",
    "A",
    "18, 19",
    "\u200b18",
]


@pytest.mark.parametrize(("final", "value"), NUMBERS.items(), ids=ascii)
@pytest.mark.parametrize("mark", ["#### ", "####", "####\n", "#####", "####\t"])
def test_a_number_is_taken_whatever_stands_before_it(mark, final, value):
    assert truth(f"1+1=2\n{mark}{final}") == Decimal(value)


@pytest.mark.parametrize("final", NO_NUMBERS, ids=ascii)
def test_what_is_not_wholly_a_number_is_left_out(final):
    assert truth(f"1+1=2\n#### {final}") is None
    assert count_truths([{"answer": f"#### {final}"}])["answers_without_final"] == 1


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("no mark 5", None),
        ("### 5", None),
        ("#### 3\n#### 4", 4),
        ("#### 1. Add\n1+1\n#### 2", 2),
        ("#### 2\n####", None),
    ],
)
def test_the_last_mark_counts(answer, value):
    assert truth(answer) == value


def test_a_truth_that_the_harnesss_filter_reads_otherwise_is_counted():
    """It needs a space, knows no sign but ASCII's, and takes what begins like a number for one."""
    alike = ["18", "-5", "1,234.50", "8.0", "18.", "no number", ""]
    otherwise = ["$18", "\u22125", "+5", "3/4", "12:30", "1.234,50", "1 000", "1e3", "5 km", "1,23"]
    rows = [{"answer": f"#### {final}"} for final in alike + otherwise]
    assert [one["answer"] for one in rows if count_truths([one])["finals_read_otherwise"]] == [
        f"#### {final}" for final in otherwise
    ]
    more = [{"answer": "####42"}, {"answer": "#### 3\n#### 4"}, {"answer": "no mark"}]
    assert count_truths(rows + more) == {"answers_without_final": 2 + 7 + 1, "finals_read_otherwise": 10 + 2}
    assert told(count_truths(more)) == (
        "1 without a final number after ####, 2 with one that lm-evaluation-harness's filter reads otherwise"
    )


@given(
    whole=st.integers(0, 10**12),
    decimals=st.text("0123456789", max_size=6),
    sign=st.sampled_from(["", "-", "\u2212", "+"]),
    dollar=st.booleans(),
    parted=st.booleans(),
    mark=st.sampled_from(["####", "#### ", "####  "]),
)
def test_every_number_that_the_rule_describes_is_read(whole, decimals, sign, dollar, parted, mark):
    written = (f"{whole:,}" if parted else str(whole)) + (f".{decimals}" if decimals else "")
    expected = Decimal(f"{whole}.{decimals or 0}") * (-1 if sign in ("-", "\u2212") else 1)
    assert truth(f"steps\n{mark}{sign}{'$' * dollar}{written}") == expected


@given(final=st.text(max_size=12))
def test_a_truth_holds_every_digit_that_its_answer_has(final):
    """No part of an answer is a truth: its digits are all there, in their order."""
    value = truth(f"#### {final}")
    if value is not None:
        body = final.rpartition("####")[2].partition("<")[0]
        assert Decimal("".join(one for one in body if one in "0123456789.").rstrip(".")) == abs(value)


@given(final=st.text("0123456789.,-", min_size=1, max_size=8))
def test_where_both_find_a_number_in_plain_digits_it_is_the_same(final):
    answer = f"#### {final}"
    mine, its = truth(answer), filters.number(filters.strict(answer))
    assert mine is None or mine == its
