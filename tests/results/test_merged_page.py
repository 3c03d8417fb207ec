"""Several studies as one page: the best within limits across cards, what may be compared, what is refused."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import several
from frontier import records
from frontier.errors import UserError
from frontier.results import merge
from frontier.results.merged import page
from frontier.results.merged.studies import read_studies
from several import BIG, LIMITS, ON_BIG, ON_SMALL, SMALL, run, write
from test_report import browser, needs_chromium  # noqa: F401


def shown(folders: list[str], **limits) -> dict:
    """What the page shows of folders within limits."""
    return page.context(read_studies(folders), {"memory_gib": None, "hours": None}, LIMITS | limits)


def only(folders: list[str], **limits) -> dict:
    """The one group of the folders."""
    (group,) = shown(folders, **limits)["groups"]
    return group


def cells(group: dict, name: str) -> list[str]:
    """The texts of a column of a group's table, by its heading."""
    return [text for text, _ in next(one["values"] for one in group["columns"] if one["column"].title == name)]


@pytest.mark.parametrize(
    ("limits", "choice"),
    [
        ({}, f"fp16 rank 8 at 1e-3, on {BIG}"),
        ({"memory_gib": 10}, f"nf4 rank 16 at 1e-3, on {SMALL}"),
        ({"memory_gib": 10, "hours": 2}, f"nf4 rank 8 at 1e-3, on {BIG}"),
        ({"hours": 2}, f"fp16 rank 8 at 1e-3, on {BIG}"),
    ],
    ids=["none", "memory", "both", "hours"],
)
def test_the_best_across_cards_follows_from_the_limits(tmp_path, limits, choice):
    group = only(several.pair(tmp_path), **limits)
    assert group["choice"] == choice
    assert group["sentence"].startswith(f"Use {choice.replace(' at 1e-3', '')}: perplexity ")
    assert group["folders"] == [str(tmp_path / "big"), str(tmp_path / "small")]


def test_limits_are_held_against_what_a_run_had_on_its_card(tmp_path):
    """nf4 on the small card peaks at 7 GiB and holds 8: it does not fit 7.5."""
    group = only(several.pair(tmp_path), memory_gib=7.5)
    assert group["choice"] == f"nf4 rank 8 at 1e-3, on {BIG}"
    assert group["facts"][-1]["value"] == "6.00"


def test_the_budget_counts_where_the_recommendation_has_no_limits(tmp_path):
    studies = read_studies(several.pair(tmp_path))
    (group,) = page.context(studies, {"memory_gib": 10, "hours": None}, LIMITS)["groups"]
    assert group["choice"] == f"nf4 rank 16 at 1e-3, on {SMALL}"
    assert group["limits"] == "10 GiB"


def test_the_cheapest_is_taken_of_those_not_told_apart_on_two_cards(tmp_path):
    write(tmp_path / "big", [run("fp16", 8, 2.000, 16, 1)], BIG, noise=0.2)
    write(tmp_path / "small", [run("nf4", 8, 2.004, 6, 4)], SMALL, noise=0.2, start=10)
    group = only([str(tmp_path / "big"), str(tmp_path / "small")])
    assert group["choice"] == f"nf4 rank 8 at 1e-3, on {SMALL}"
    assert "It is the cheapest of 2 that are not told apart" in group["sentence"]


def test_the_adapter_to_take_is_in_its_own_study(tmp_path):
    group = only(several.pair(tmp_path), memory_gib=10)
    assert (
        f"Take the adapter of nf4-r16-s0 of {tmp_path}/small: {tmp_path}/small/results/runs/nf4-r16-s0/adapter."
        in (group["sentence"])
    )


def test_what_rests_on_little_is_said(tmp_path):
    few = {"examples": 60}
    write(tmp_path / "big", ON_BIG, BIG, **few)
    write(tmp_path / "small", ON_SMALL, SMALL, start=10, **few)
    sentence = only([str(tmp_path / "big"), str(tmp_path / "small")])["sentence"]
    assert "60 validation examples are few" in sentence
    assert "it was trained with one seed" in sentence


def test_few_examples_are_said_without_their_losses_too(tmp_path):
    write(tmp_path / "big", ON_BIG, BIG, examples=60, losses=False)
    notes = only([str(tmp_path / "big")])["notes"]
    assert notes == ["60 validation examples are few: intervals hold what they say from 100 on"]
    assert notes[0] in written([str(tmp_path / "big")], tmp_path)


def test_memory_that_is_counted_in_two_ways_is_said(tmp_path):
    write(tmp_path / "big", ON_BIG, BIG)
    write(tmp_path / "cpu", [one | {"memory_metric": "host_rss"} for one in ON_SMALL], "cpu", start=10)
    notes = only([str(tmp_path / "big"), str(tmp_path / "cpu")])["notes"]
    assert any("counted in more than one way (cuda_allocated and host_rss)" in note for note in notes)


def test_seeds_of_two_studies_on_one_card_are_one_configuration(tmp_path):
    write(tmp_path / "a", [run("nf4", 8, 2.2, 6, 1)], BIG)
    write(tmp_path / "b", [run("nf4", 8, 2.21, 6, 1, seed=1)], BIG, start=10)
    group = only([str(tmp_path / "a"), str(tmp_path / "b")])
    assert cells(group, "Seeds") == ["2"]
    assert group["choice"] == "nf4 rank 8 at 1e-3"


def test_one_seed_in_two_studies_on_one_card_is_not_two_seeds(tmp_path):
    write(tmp_path / "a", [run("nf4", 8, 2.2, 6, 1)], BIG)
    write(tmp_path / "b", [run("nf4", 8, 2.3, 6, 1.5)], BIG, start=10)
    group = only([str(tmp_path / "a"), str(tmp_path / "b")])
    assert cells(group, "Seeds") == ["1", "1"]
    assert group["choice"] == f"nf4 rank 8 at 1e-3, on {tmp_path}/a"


def test_settings_that_differ_between_studies_are_columns(tmp_path):
    folders = several.pair(tmp_path, training={"batch_size": 16, "epochs": 2})
    group = only(folders)
    assert sorted(cells(group, "Batch")) == ["16", "4", "4"]
    assert "Epochs" not in [one["column"].title for one in group["columns"]]
    assert group["choice"] == f"fp16 rank 8 at 1e-3, batch_size 4, on {BIG}"


@pytest.mark.parametrize(
    ("unlike", "why"),
    [
        ({"model": "x"}, "another model"),
        ({"data": "x"}, "other data"),
        ({"examples": 150}, "other validation examples"),
    ],
    ids=["model", "data", "examples"],
)
def test_what_may_not_be_compared_has_a_group_each(tmp_path, unlike, why):
    first, second = shown(several.pair(tmp_path, **unlike), memory_gib=10)["groups"]
    assert (first["choice"], second["choice"]) == ("nf4 rank 8 at 1e-3", "nf4 rank 16 at 1e-3")
    assert second["unlike"] == [why]
    assert "nf4 rank 16" not in first["sentence"]
    assert len(cells(first, "Rank")) == 2
    text = written(several.pair(tmp_path, **unlike), tmp_path)
    assert f"beside group 1 it has {why}." in text


def test_records_that_do_not_tell_their_code_are_compared_with_their_own_study_alone(tmp_path):
    folders = several.pair(tmp_path)
    for path in (tmp_path / "small").glob("results/runs/*/training.json"):
        edit(path, lambda record: record.pop("code"))
    second = shown(folders)["groups"][1]
    assert second["folders"] == [folders[1]]
    assert second["unlike"] == ["training code that its records do not tell"]


def test_a_run_that_was_killed_joins_its_studys_group(tmp_path):
    write(tmp_path / "big", [*ON_BIG, run("fp16", 64, None, 20, 1, status="oom")], BIG)
    edit(tmp_path / "big/results/runs/fp16-r64-s0/training.json", lambda record: record.update(material=None))
    group = only([str(tmp_path / "big")])
    assert cells(group, "Status") == ["ok", "ok", "oom"]
    assert cells(group, "Within the limits")[-1] == "has a run that ended oom"


def test_a_seed_that_was_killed_before_it_could_tell_its_card_counts_on_its_studys(tmp_path):
    """Else the configuration would fit by its other seed alone."""
    killed = run("nf4", 16, None, 8, 3, seed=1, status="oom", peak_memory_gib=None)
    write(tmp_path / "big", ON_BIG, BIG)
    path = write(tmp_path / "small", [*ON_SMALL, killed], SMALL, start=10) / "results/summary.csv"
    table = pd.read_csv(path)
    table.loc[table["status"] == "oom", "device"] = None
    table.to_csv(path, index=False)
    group = only([str(tmp_path / "big"), str(tmp_path / "small")], memory_gib=10)
    assert group["choice"] == f"nf4 rank 8 at 1e-3, on {BIG}"
    assert "has a run that ended oom" in cells(group, "Within the limits")


@pytest.mark.parametrize("losses", [True, False])
def test_runs_without_their_time_are_no_answer(tmp_path, losses):
    write(tmp_path / "a", [one | {"train_seconds": None} for one in ON_BIG], BIG, losses=losses)
    group = only([str(tmp_path / "a")], memory_gib=10)
    assert (group["heading"], group["choice"]) == ("Nothing to compare", None)
    assert group["sentence"].startswith("Not measured: no run that ended ok has its perplexity, memory and time")


@pytest.mark.parametrize("losses", [True, False])
def test_runs_that_training_made_worse_are_not_taken(tmp_path, losses):
    worse = [run("nf4", 16, 5.1, 6, 1, base_perplexity=4.0)]
    write(tmp_path / "a", worse, BIG, losses=losses)
    group = only([str(tmp_path / "a")])
    assert group["choice"] == "The untrained model"
    assert group["sentence"].startswith("No run is better than the untrained model")


def test_cards_that_are_not_told_are_not_taken_for_those_that_are(tmp_path):
    write(tmp_path / "big", ON_BIG, BIG)
    write(tmp_path / "small", ON_SMALL, SMALL, start=10)
    write(tmp_path / "untold", [run("nf4", 16, 2.05, 8, 3)], None, start=20)
    group = only([str(tmp_path / name) for name in ("big", "small", "untold")], memory_gib=10)
    assert group["choice"] == "nf4 rank 16 at 1e-3, on a card not told"
    assert cells(group, "Seeds") == ["1"] * 4


def test_what_folders_and_cards_are_called_is_escaped(tmp_path):
    write(tmp_path / "a <b>&'", ON_BIG, "<script>alert(1)</script>")
    write(tmp_path / "b", ON_SMALL, BIG, start=10)
    text = written([str(tmp_path / "a <b>&'"), str(tmp_path / "b")], tmp_path)
    assert "<script>alert" not in text
    assert "<b>" not in text


def test_without_losses_the_summarys_intervals_tell_apart(tmp_path):
    group = only(several.pair(tmp_path, losses=False), memory_gib=10)
    assert group["choice"] == f"nf4 rank 16 at 1e-3, on {SMALL}"
    assert "nll.parquet" in group["sentence"]
    assert "own intervals" in group["rests"]


def test_without_losses_the_cheapest_of_those_whose_intervals_touch_is_taken(tmp_path):
    write(tmp_path / "big", [run("fp16", 8, 2.000, 16, 1)], BIG, losses=False)
    write(tmp_path / "small", [run("nf4", 8, 2.03, 6, 4)], SMALL, losses=False)
    folders = [str(tmp_path / "big"), str(tmp_path / "small")]
    assert only(folders)["choice"] == f"nf4 rank 8 at 1e-3, on {SMALL}"
    write(tmp_path / "small", [run("nf4", 8, 2.05, 6, 4)], SMALL, losses=False)
    assert only(folders)["choice"] == f"fp16 rank 8 at 1e-3, on {BIG}", "more than 2% behind"
    write(tmp_path / "big", [run("fp16", 8, 2.000, 16, 1)], BIG, losses=False, width=0.005)
    write(tmp_path / "small", [run("nf4", 8, 2.03, 6, 4)], SMALL, losses=False, width=0.005)
    assert only(folders)["choice"] == f"fp16 rank 8 at 1e-3, on {BIG}", "told apart by the intervals"


@pytest.mark.parametrize("losses", [True, False])
def test_limits_that_nothing_keeps_are_answered_with_what_comes_nearest(tmp_path, losses):
    group = only(several.pair(tmp_path, losses=losses), memory_gib=4, hours=2)
    assert group["choice"] is None
    assert group["sentence"].startswith("No run keeps the limits, 4 GiB and 2 hours of training;")
    nearest = f"Nearest comes nf4 rank 8 at 1e-3, on {BIG}: it takes 6.00 GiB (50% over)."
    assert f"{nearest} It would fit within 6.00 GiB and 1.200 hours." in group["sentence"]
    assert "Nothing fits" in written(several.pair(tmp_path, losses=losses), tmp_path, memory_gib=4, hours=2)


def test_each_limit_that_the_nearest_breaks_is_told_with_its_own_excess(tmp_path):
    write(tmp_path / "a", [run("nf4", 8, 2.2, 6, 4), run("fp16", 8, 2.0, 7, 9)], BIG)
    sentence = only([str(tmp_path / "a")], memory_gib=5, hours=2)["sentence"]
    assert "it takes 6.00 GiB (20% over) and takes 4.00 hours (100% over)." in sentence
    far = only([str(tmp_path / "a")], memory_gib=1)["sentence"]
    assert "Nearest comes nf4 rank 8 at 1e-3: it takes 6.00 GiB (6 times as much)." in far


def test_what_would_fit_is_rounded_up(tmp_path):
    write(tmp_path / "a", [run("nf4", 8, 2.2, 6.001, 1)], BIG)
    assert "It would fit within 6.01 GiB." in only([str(tmp_path / "a")], memory_gib=6)["sentence"]


def test_the_frontier_and_what_beats_the_others_are_in_the_table(tmp_path):
    worse = run("nf4", 4, 2.6, 7, 2)
    write(tmp_path / "big", [*ON_BIG, worse], BIG)
    write(tmp_path / "small", ON_SMALL, SMALL, start=10)
    group = only([str(tmp_path / "big"), str(tmp_path / "small")])
    assert cells(group, "Frontier") == ["on it", "on it", "on it", f"beaten by nf4 rank 8 at 1e-3, on {BIG}"]
    assert cells(group, "Perplexity") == ["2.000", "2.100", "2.200", "2.600"]
    assert cells(group, "Memory") == ["16.00", "8.00", "6.00", "7.00"]


def test_a_colour_is_a_card(tmp_path):
    text = written(several.pair(tmp_path), tmp_path)
    figures = text[text.index('<figure id="memory-1"') : text.index("Configurations</h3>")]
    assert BIG in figures
    assert SMALL in figures
    assert "on its card&#39;s frontier" in figures or "on its card's frontier" in figures
    assert "a colour is a card" in figures
    write(tmp_path / "other", ON_SMALL, BIG, start=20)
    assert "a colour is a study" in written([str(tmp_path / "big"), str(tmp_path / "other")], tmp_path)


def edit(path: Path, change) -> None:
    record = records.read_json(path)
    change(record)
    records.write_json(path, record)


def written(folders: list[str], place: Path, **limits) -> str:
    output = place / "merged.html"
    request = {"folders": folders, "budget": {"memory_gib": None, "hours": None}, "recommend": LIMITS | limits}
    page.write_merged({"request": request, "output": {"page": str(output)}})
    return output.read_text("utf-8")


def refusal(folders: list[str]) -> str:
    """The line with which both the page and the table refuse the folders."""
    with pytest.raises(UserError) as refused:
        shown(folders)
    with pytest.raises(UserError) as of_table:
        merge.merge(folders)
    assert str(refused.value) == str(of_table.value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_folder_that_is_no_study_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    line = refusal([*several.pair(tmp_path), str(tmp_path / "empty")])
    assert line.startswith(f"merge: {tmp_path}/empty is no finished study, it has no results/summary.csv;")


def test_a_summary_of_an_older_version_is_refused_with_what_it_lacks(tmp_path):
    folders = several.pair(tmp_path)
    path = tmp_path / "small/results/summary.csv"
    pd.read_csv(path).drop(columns=["device", "memory_metric"]).to_csv(path, index=False)
    assert f"{path} is of an older version, it lacks memory_metric, device; make it again" in refusal(folders)


def test_an_older_summary_without_rates_and_intervals_is_taken(tmp_path):
    folders = several.pair(tmp_path)
    path = tmp_path / "small/results/summary.csv"
    lacking = ["learning_rate", "perplexity_low", "perplexity_high", "peak_held_gib"]
    pd.read_csv(path).drop(columns=lacking).to_csv(path, index=False)
    assert only(folders, memory_gib=10)["choice"] == f"nf4 rank 16 at 1e-3, on {SMALL}"


@pytest.mark.parametrize("content", ["", 'run,precision\n"a,b\nc,d,e,f\n'], ids=["empty", "broken"])
def test_a_summary_that_is_no_table_is_refused(tmp_path, content):
    folders = several.pair(tmp_path)
    (tmp_path / "small/results/summary.csv").write_text(content)
    assert f"{tmp_path}/small/results/summary.csv is" in refusal(folders)


@pytest.mark.parametrize("content", [None, "{"], ids=["gone", "cut off"])
def test_a_summary_without_its_records_is_refused(tmp_path, content):
    folders = several.pair(tmp_path)
    path = tmp_path / "small/results/runs/nf4-r16-s0/training.json"
    path.unlink() if content is None else path.write_text(content)
    assert refusal(folders).startswith(f"merge: {path} {'is not there' if content is None else 'cannot be read'}")


def test_one_folder_by_two_names_is_refused(tmp_path):
    folders = several.pair(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "big")
    line = refusal([*folders, str(tmp_path / "link")])
    assert line.startswith(f"merge: {tmp_path}/big and {tmp_path}/link are one folder")


def test_a_copy_of_a_study_is_refused(tmp_path):
    folders = several.pair(tmp_path)
    shutil.copytree(tmp_path / "big", tmp_path / "copy")
    line = refusal([*folders, str(tmp_path / "copy")])
    assert line.startswith(f"merge: {tmp_path}/big and {tmp_path}/copy hold the same records, fp16-r8-s0 and 1 more")


def test_a_study_without_a_finished_run_is_left_aside_and_said(tmp_path, capsys):
    write(tmp_path / "big", ON_BIG, BIG)
    write(tmp_path / "none", [run("fp16", 8, None, 20, 1, status="oom")], SMALL)
    text = written([str(tmp_path / "big"), str(tmp_path / "none")], tmp_path)
    line = f"{tmp_path}/none: none of its runs ended ok (1 oom), so it has nothing to compare"
    assert f"Left aside: {line}." in text
    assert f"merge: {line}" in capsys.readouterr().out


def test_studies_without_any_finished_run_are_refused(tmp_path):
    write(tmp_path / "none", [run("fp16", 8, None, 20, 1, status="oom")], SMALL)
    assert refusal([str(tmp_path / "none")]).endswith("none of its runs ended ok (1 oom), so it has nothing to compare")


def test_a_study_without_a_run_is_said(tmp_path):
    write(tmp_path / "big", ON_BIG, BIG)
    path = write(tmp_path / "none", ON_SMALL, SMALL) / "results/summary.csv"
    pd.read_csv(path).iloc[:0].to_csv(path, index=False)
    values = shown([str(tmp_path / "big"), str(tmp_path / "none")])
    assert values["left_aside"] == [
        f"{tmp_path}/none: none of its runs ended ok (it has no run), so it has nothing to compare"
    ]


def test_the_page_stands_alone_and_is_small(tmp_path):
    text = written(several.pair(tmp_path, model="x"), tmp_path)
    assert len(text.encode()) < 2_000_000
    assert not re.search(r'(src|href)="https?:', text)
    assert "&lt;" not in text[text.index("<main>") : text.index("</main>")]


@needs_chromium
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1280, "dark")])
def test_nothing_overflows_and_tables_can_be_searched(tmp_path, browser, width, scheme):  # noqa: F811
    written(several.pair(tmp_path, model="x"), tmp_path)
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    opened, heard = context.new_page(), []
    opened.on("console", lambda message: heard.append(message.text))
    opened.on("pageerror", lambda error: heard.append(str(error)))
    opened.goto((tmp_path / "merged.html").as_uri())
    opened.wait_for_selector(".dt-container >> nth=1")
    opened.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert opened.evaluate("document.documentElement.scrollWidth") == width
    assert opened.locator("figure svg:visible").count() == 4
    opened.locator("#group-1 input[type=search]").fill("fp16")
    assert opened.locator("#group-1-table tbody tr").count() == 1
    assert heard == []
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(opened).response
    assert [f"{one['id']}: {[node['html'][:90] for node in one['nodes'][:3]]}" for one in found["violations"]] == []
    context.close()
