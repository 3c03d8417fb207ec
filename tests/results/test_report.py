"""The report in a real browser, where there is one: quiet, offline, readable at every width, in light and dark."""

import json
import re
import shutil
from pathlib import Path

import pages
import pytest
import sweeps
import yaml
from frontier.results import captions, columns, report

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync"
).split()
needs_chromium = pytest.mark.skipif(not shutil.which(CHROMIUM), reason="no /usr/bin/chromium to open the report in")
VIEWS = [(width, scheme) for width in (390, 1440) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def report_path(tmp_path_factory) -> Path:
    job = pages.write(tmp_path_factory.mktemp("report"))
    report.write_report(job)
    return Path(job["output"]["report"])


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=VIEWS, ids=lambda view: f"{view[0]}-{view[1]}")
def page(request, browser, report_path):
    """The report as opened at a width and in a colour scheme; what it said and asked for is in `page.heard`."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    page.heard = []
    page.on("console", lambda message: page.heard.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: page.heard.append(f"error: {error}"))
    page.on("request", lambda sent: page.heard.append(f"request: {sent.url}"))
    page.goto(report_path.as_uri())
    page.wait_for_selector(".dt-container")
    yield page
    context.close()


@needs_chromium
def test_page_is_quiet_and_fetches_nothing(page, report_path):
    page.wait_for_load_state("networkidle")
    beyond = [line for line in page.heard if line != f"request: {report_path.as_uri()}"]
    # The library is a script in the page itself, started through a blob: address.
    assert [line for line in beyond if not line.startswith("request: blob:")] == []
    assert page.title() == "LoRA and QLoRA, measured"


@needs_chromium
def test_nothing_overflows(page):
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    outside = page.evaluate(
        """width => [...document.querySelectorAll('body *')]
        .filter(one => !one.closest('.scroll, pre, svg') && one.getBoundingClientRect().right > width + 0.5)
        .map(one => one.outerHTML.slice(0, 80))""",
        width,
    )
    assert outside == []


@needs_chromium
def test_every_figure_is_seen(page):
    figures = page.locator("figure")
    assert figures.count() == 5
    for index in range(5):
        drawn = figures.nth(index).locator("svg:visible")
        assert drawn.count() == 1
        box = drawn.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 200
        # Text is text, at a size that can be read.
        sizes = drawn.locator("text").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
        assert len(sizes) > 10
        assert min(sizes) > 7


@needs_chromium
def test_table_sorts_by_value(page):
    heading = page.locator("#runs-table th", has_text="Trainable parameters")
    assert heading.count() == 0, "hidden until asked for"
    page.locator("#runs-table th", has_text="Peak memory").click()
    page.wait_for_selector("#runs-table th[aria-sort=ascending]")
    position = [text.split("\n")[0] for text in page.locator("#runs-table th").all_inner_texts()].index("Peak memory")
    cells = page.locator(f"#runs-table tbody td:nth-child({position + 1})")
    ascending = [float(text) for text in cells.all_inner_texts()]
    assert len(ascending) == 16
    assert ascending == sorted(ascending)
    page.locator("#runs-table th", has_text="Peak memory").click()
    page.wait_for_selector("#runs-table th[aria-sort=descending]")
    assert [float(text) for text in cells.all_inner_texts()] == ascending[::-1]


@needs_chromium
def test_headings_and_names_stay_in_view_in_a_long_table(page):
    page.locator(".scroll").first.scroll_into_view_if_needed()
    inside = page.evaluate(
        """() => {
            const box = document.querySelector('.scroll');
            box.style.maxHeight = '300px';
            box.scrollTop = 200; box.scrollLeft = 60;
            const head = box.querySelector('thead th').getBoundingClientRect();
            const name = box.querySelector('tbody tr:nth-child(8) td').getBoundingClientRect();
            const frame = box.getBoundingClientRect();
            const found = [head.top - frame.top, name.left - frame.left, box.scrollTop];
            box.style.maxHeight = ''; box.scrollTop = 0; box.scrollLeft = 0;
            return found;
        }"""
    )
    assert inside[2] == 200
    assert -2 <= inside[0] <= 2
    assert -14 <= inside[1] <= 14


@needs_chromium
def test_hidden_columns_can_be_shown(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.get_by_role("button", name="Columns").click()
    page.get_by_role("button", name="Trainable parameters").click()
    assert page.locator("#runs-table th", has_text="Trainable parameters").is_visible()
    # Contrast alone: DataTables gives its menu no name for a screen reader.
    page.wait_for_function("getComputedStyle(document.querySelector('.dt-button-collection')).opacity === '1'")
    found = axe.Axe().run(page, options={"runOnly": ["color-contrast"]}).response
    assert [one["id"] for one in found["violations"]] == []
    assert [one["id"] for one in found["passes"]] == ["color-contrast"]
    page.keyboard.press("Escape")
    page.wait_for_selector(".dt-button-collection", state="detached")


@needs_chromium
def test_axe_finds_nothing(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    found = axe.Axe().run(page).response
    assert [f"{one['id']}: {[node['html'][:90] for node in one['nodes'][:3]]}" for one in found["violations"]] == []
    assert "color-contrast" in [one["id"] for one in found["passes"]]


def test_page_leads_with_the_recommendation(report_path):
    text = report_path.read_text("utf-8")
    sections = ["recommendation", "rates", "figures", "findings", "runs", "unfinished", "environment", "reproduce"]
    places = [text.index(f'<section id="{name}"') for name in sections]
    assert places == sorted(places)
    assert re.search(r'<p class="choice">(.*?)</p>', text)[1] == "nf4 rank 16 at 2e-4"
    for status in ("oom", "over_time", "diverged"):
        assert f'<td data-order="{status}">{status}</td>' in text[places[5] : places[6]]


def test_what_a_run_says_is_escaped(report_path):
    text = report_path.read_text("utf-8")
    assert pages.HOSTILE not in text
    assert "&lt;b&gt;out of memory&lt;/b&gt;" in text


def test_others_claims_are_folded_and_not_counted(report_path):
    """The first page is of the reader's study; what others state lies in a closed fold at the findings' end."""
    text = report_path.read_text("utf-8")
    findings = text[text.index('<section id="findings"') : text.index('<section id="runs"')]
    own, others = findings.split('<details id="others">')
    assert "Somebody" not in text[: text.index('<details id="others">')]
    assert '<span class="title">Title of knee</span> <code>knee</code>' in own
    assert "<p>NF4 is ten times as fast.</p>" in others
    assert "Stated by: Somebody&#39;s study, 2024-01." in others
    assert "2 supported, 1 contradicted, 1 inconclusive, 1 not measured." in own
    assert "counter-reset: finding 4" in others


def test_page_of_findings_without_others_has_no_fold(tmp_path):
    job = pages.write(tmp_path, claims=[one for one in pages.findings() if one["part"] == "study"])
    report.write_report(job)
    assert "Claims of others" not in Path(job["output"]["report"]).read_text("utf-8")


def test_page_without_a_run_that_ended_ok(tmp_path):
    table = pages.summary()
    table = table[table["status"] == "oom"]
    claims = [one for one in pages.findings() if one["id"] == "knee"]
    claims.append({"id": "recommendation", "verdict": "not_measured", "sentence": "No run ended ok."})
    claims[-1] |= {"evidence": {"runs": [], "values": {}, "interval": None}, "part": "study", "published": None}
    job = pages.write(tmp_path, table, claims)
    report.write_report(job)
    text = Path(job["output"]["report"]).read_text("utf-8")
    assert "No run can be recommended" in text
    assert "No run has a" in text


def test_page_of_a_study_in_which_training_did_not_help(tmp_path):
    claims = [one for one in pages.findings() if one["id"] != "recommendation"]
    sentence = "No run is better than the untrained model: fp16, perplexity 4.960."
    values = {"run": None, "precision": "fp16", "rank": 0, "learning_rate": None}
    claims.append({"id": "recommendation", "verdict": "contradicted", "sentence": sentence})
    claims[-1] |= {"evidence": {"runs": [], "values": values, "interval": None}, "part": "study", "published": None}
    job = pages.write(tmp_path, claims=claims)
    report.write_report(job)
    text = Path(job["output"]["report"]).read_text("utf-8")
    assert '<p class="choice">The untrained model</p>' in text
    assert sentence in text


def written(folder: Path, table) -> str:
    job = pages.write(folder, table)
    report.write_report(job)
    return Path(job["output"]["report"]).read_text("utf-8")


def test_one_learning_rate_is_said_once_with_what_to_set(report_path):
    text = report_path.read_text("utf-8")
    assert text.count("One learning rate is not the whole answer") == 1
    assert "learning_rate: [1.0e-4, 2.0e-4, 4.0e-4]" in text
    assert yaml.safe_load("learning_rate: [1.0e-4, 2.0e-4, 4.0e-4]")["learning_rate"] == [1e-4, 2e-4, 4e-4]
    assert "Learning rates to add" not in text


@pytest.mark.parametrize("rate", [5e-4, 3e-4, 0.05, 1.0])
def test_rates_that_are_proposed_are_numbers_of_yaml(rate):
    results = sweeps.sweep(rates=(rate,), ranks=(8,), precisions=("nf4",), seeds=(0,))
    proposed = captions.of_rates(results)["setting"]
    assert yaml.safe_load(proposed)["learning_rate"] == pytest.approx([rate / 2, rate, 2 * rate])


def test_best_rates_at_an_edge_stand_near_the_top_and_the_table_has_every_axis(tmp_path):
    results = sweeps.sweep(rates=(4e-3, 8e-3), ranks=(8, 32), precisions=("nf4",), alphas=(1, 2), seeds=(0,))
    text = written(tmp_path, results.table)
    start = text.index('<section id="rates"')
    told = text[start : text.index('<section id="figures"')]
    assert "Learning rates to add: 2e-3" in told
    assert told.count("at the lowest rate tried, 4e-3: add 2e-3 to learning_rate") == 1
    assert "4 arms, " in told
    assert "One learning rate" not in text
    table = text[text.index('<table id="runs-table"') :]
    heads = re.findall(r'<th scope="col"[^>]*>([^<]+?)\s*<', table)
    assert heads[:4] == ["Run", "Precision", "Rank", "Seed"]
    assert heads[4:6] == ["Learning rate", "Alpha"]
    assert text.count('class="broad"') == 3
    # The losses were read, or there would be no paired interval to tell of.
    assert "A bar is the 95% interval" in text


def test_captions_tell_what_is_drawn_and_nothing_else():
    alone = captions.captions(sweeps.sweep(rates=(2e-3,), ranks=(8,), precisions=("nf4",), seeds=(0,)))
    assert alone["perplexity_rank"] == "Validation perplexity over LoRA rank, the mean over seeds."
    several = captions.captions(sweeps.sweep(rates=(4e-3, 8e-3), ranks=(8, 16)))
    for words in ("dotted line", "Small dots", "written below its rank", "hollow"):
        assert words in several["perplexity_rank"]
    assert "diverged" not in several["perplexity_rank"]
    assert "its other rates cost the same" in several["memory_time"]
    assert "best learning rate" not in alone["memory_time"]


@pytest.mark.parametrize("lost", ["one", "all"])
def test_page_of_runs_that_could_not_say_where_they_were(tmp_path, lost):
    """A process that is killed early leaves a record without an environment."""
    job = pages.write(tmp_path)
    for path in job["input"]["trainings"][: 1 if lost == "one" else None]:
        Path(path).write_text(json.dumps({"environment": None}))
    report.write_report(job)
    assert ("<dt>peft</dt>" in Path(job["output"]["report"]).read_text("utf-8")) == (lost == "one")


def test_every_column_of_the_summary_is_explained():
    assert set(columns.DERIVED) | set(columns.COUNTS) <= set(columns.SUMMARY)
    assert [name for name, column in columns.COLUMNS.items() if not column.help] == []


def test_cells_say_what_was_not_measured():
    table = pages.summary()
    shown = {one["name"]: one for one in columns.cells(table)}
    assert shown["perplexity"]["values"][-1] == ("–", "")
    assert shown["fits"]["values"][0] == ("no", "False")
    assert shown["trainable_parameters"]["values"][0] == ("2,442,240", "2442240")


def test_environments_are_alike_whatever_their_hour_and_which_of_the_devices():
    here = [{"host": "here", "device_ids": name, "started_at": name} for name in "01"]
    counted = report.distinct([{"host": "there", "device_ids": "0"}, *here, None])
    assert counted == [{"facts": {"host": "here"}, "runs": 2}, {"facts": {"host": "there"}, "runs": 1}]


def test_workflow_leaves_a_report(finished_study):
    text = (finished_study.folder / "results/report.html").read_text("utf-8")
    assert all(f">{run}-s0</td>" in text for run in ("fp16-r2", "fp16-r8", "nf4-r4"))
    surroundings = text[text.index('id="environment"') : text.index('id="reproduce"')]
    assert "transformers" in surroundings
    assert "{" not in surroundings, "a record is printed raw"
    assert not (finished_study.folder / "results/accuracy.csv").exists(), "accuracy is measured where it is asked for"


def test_snakemake_makes_its_own_report(finished_study):
    done = finished_study.snakemake("--report", "snakemake-report.html")
    assert done.returncode == 0, done.stderr
    text = (finished_study.folder / "snakemake-report.html").read_text("utf-8")
    assert "the frontier, dashed lines" in " ".join(text.replace("\\n", " ").split())
