"""Extraction against lm-evaluation-harness's own filters, and what an extracted number is worth."""

import importlib.resources
import random
from decimal import Decimal

import pytest
import yaml
from frontier.model.data import filters
from frontier.run import answers
from hypothesis import given
from hypothesis import strategies as st

_TRICKY = [
    "#### 8",
    "#### 8.0",
    "#### $8",
    "####8",
    "#### -12",
    "#### 1,234.50",
    "#### 3\n#### 4",
    "so it is 5. #### ",
    "$1,000",
    "$",
    "...",
    "a - 3",
    "-3",
    "5-3",
    "3.",
    "The answer is 18.",
    "7 apples, 12.5 pears, and",
    "",
    "no digits",
    "#### .",
    "#### ,5",
    "1/2",
    "½ and ٣",
    "12 % of $3.50.",
    "### 4",
    "##### 4",
]


def made_up(count: int) -> list[str]:
    """Answers such as models give: steps, a final number in some form, and sometimes more after it."""
    draw = random.Random(0)
    forms = ("{:d}", "{:,d}", "${:d}", "{:d}.0", "-{:d}", "{:d}.", "{:d}%", "", "${:,d}.50", "{:d} apples")
    ends = ("#### {}", "####{}", "The answer is {}", "#### {}\nQuestion: 3?", "= {}", "\\boxed{{{}}}", "{}\n#### {}")
    found = []
    for _ in range(count):
        steps = " ".join(f"{draw.randint(1, 99)}+{draw.randint(1, 99)}={draw.randint(1, 99)}." for _ in range(3))
        value = draw.choice(forms).format(draw.randint(0, 10**6))
        found.append(f"{steps}\n" + draw.choice(ends).format(value, draw.randint(0, 99)))
    return found


@pytest.fixture(scope="module")
def harness():
    """A function that puts one answer through the harness's own filters, by the name it gives them."""
    filters = pytest.importorskip("lm_eval.filters", reason="lm-eval is not installed to compare extraction with")
    task = importlib.resources.files("lm_eval") / "tasks/gsm8k/gsm8k.yaml"
    steps = {one["name"]: one["filter"][0] for one in yaml.safe_load(task.read_text())["filter_list"]}
    made = {}
    for name, step in steps.items():
        options = {key: value for key, value in step.items() if key != "function"}
        made[name] = filters.get_filter(step["function"])(**options)
    return lambda name, text: made[name].apply([[text]], [{}])[0][0]


def assert_same(harness, text: str) -> None:
    for name, extract in (("strict-match", filters.strict), ("flexible-extract", filters.flexible)):
        expected = harness(name, text)
        assert (extract(text) or "[invalid]") == expected, (name, text)


def test_extraction_is_the_harnesss(harness):
    texts = [*_TRICKY, *made_up(400)]
    for text in texts:
        assert_same(harness, text)
    extracted = [filters.strict(text) for text in texts]
    assert 100 < sum(one is not None for one in extracted) < len(texts)


@given(text=st.text(alphabet="#$-.,0123456789 \na%", max_size=40))
def test_extraction_is_the_harnesss_on_any_text(harness, text):
    assert_same(harness, text)


@pytest.mark.parametrize(
    ("extracted", "truth", "right"),
    [
        ("8.0", "8", True),
        ("8", "8", True),
        ("1,234", "1234", True),
        ("$8.", "8", True),
        ("-3", "3", False),
        ("8.01", "8", False),
        ("1.2.3", "1.2", False),
        (".", "0", False),
        (None, "0", False),
    ],
)
def test_comparison_is_numeric(extracted, truth, right):
    assert answers.matches(extracted, Decimal(truth)) is right


def test_standard_error_is_the_samples():
    assert answers.accuracy([True, False, False, False]) == (0.25, pytest.approx(0.25))
    assert answers.accuracy([True]) == (1.0, None)
    assert answers.accuracy([]) == (None, None)
