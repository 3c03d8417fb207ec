"""The records' types: described key by key, and held against what runs write and have written."""

import copy
import shutil

import pandas as pd
import pytest
from conftest import ROOT, Study
from frontier import outcomes, paths, records, version
from frontier.cost_types import PhaseCost
from frontier.data_types import ExamplesRecord
from frontier.jobs import code_digest, hopeless
from frontier.material_types import BaseRecord, ModelRecord
from frontier.outcome_types import BareOutcome, Status, TrainingOutcome
from frontier.plan import table as plan_table
from frontier.record_types import EvaluationRecord, TrainingRecord
from frontier.results import records_page
from frontier.table_types import HistoryRow, LossRow, PlanRow, SummaryRow
from frontier.token_types import TokensRecord
from typed import problems, problems_of_table

KINDS = {"training.json": TrainingRecord, "evaluation.json": EvaluationRecord}
REFERENCE = sorted(path for name in KINDS for path in (ROOT / "docs/reference").rglob(name))
# Keys that old records lack, and new ones must not.
NEW = {"code", "environment.device_ids", "environment.start", "environment.workflow_version"}


def test_the_page_is_made_from_the_types_as_they_are():
    assert records_page.PAGE.read_text("utf-8") == records_page.page(), "make docs writes it"


def test_every_key_is_described():
    for record in records_page.reached([*records_page.FILES.values(), *records_page.JOBS]):
        assert record.__doc__.strip().endswith("."), record
        for key in records_page.keys_of(record):
            assert records_page.text_of(record, key).endswith("."), f"{record.__name__}.{key.name}"


@pytest.mark.parametrize("name", KINDS)
def test_what_a_study_writes_is_of_its_type(finished_study, name):
    found = sorted((finished_study.folder / "results").glob(f"*/*/{name}"))
    assert found
    for path in found:
        record = records.read_json(path)
        assert problems(record, KINDS[name]) == [], path
        assert set(record) | {f"environment.{key}" for key in record["environment"]} >= NEW


def test_what_a_studys_tables_hold_is_of_its_type(finished_study):
    results = finished_study.folder / "results"
    assert problems_of_table(results / "summary.csv", SummaryRow) == []
    shares = pd.read_csv(results / "summary.csv").groupby("precision")["four_bit_share"]
    assert shares.min()["nf4"] > 0.9
    assert shares.count()["fp16"] == 0
    for path in results.glob("runs/*/history.csv"):
        assert problems_of_table(path, HistoryRow) == []
    for path in results.glob("*/*/nll.parquet"):
        assert problems(pd.read_parquet(path).to_dict("records"), list[LossRow]) == []


def test_what_a_study_is_made_from_is_of_its_type(finished_study):
    resources = finished_study.folder / "resources"
    kinds = {"model.json": ModelRecord, "examples/examples.json": ExamplesRecord, "tokens/tokens.json": TokensRecord}
    kinds |= {f"bases/{precision}.json": BaseRecord for precision in ("fp16", "nf4")}
    for name, kind in kinds.items():
        assert problems(records.read_json(resources / name), kind) == [], name


def test_a_plan_has_the_columns_of_its_type():
    assert [key.name for key in records_page.keys_of(PlanRow)] == list(plan_table.COLUMNS)


@pytest.mark.parametrize("path", REFERENCE, ids=lambda path: str(path.relative_to(ROOT / "docs/reference").parent))
def test_the_records_of_the_docs_are_of_their_types(path):
    assert problems(records.read_json(path), KINDS[path.name]) == []


@pytest.mark.parametrize("study", ["embedded", "mistral-7b-6gib", "smollm2-gsm8k", "smollm2-gsm8k-at-5e-4"])
def test_the_tables_of_the_docs_are_of_their_type(study):
    assert problems_of_table(ROOT / "docs/reference" / study / "summary.csv", SummaryRow) == []


def test_what_is_told_of_runs_without_a_word_of_their_own_is_of_its_type():
    row = {"predicted_peak_gib": 10.0, "allocated_gib": 9.0, "weights_gib": 8.0, "predicted_hours": 50.0}
    told = [
        outcomes.killed_by_kernel("steady", 3.0),
        outcomes.killed_by_kernel("import", None),
        outcomes.hung("load", 60, 6.0),
        hopeless.outcome_of(row, {"memory_gib": 6, "hours": None}),
        hopeless.outcome_of(row, {"memory_gib": None, "hours": 10}),
        outcomes.Stop(Status.OVER_TIME, "so", projected_hours=3.0).outcome,
    ]
    assert [problems(one, BareOutcome) for one in told] == [[]] * len(told)


@pytest.mark.parametrize(
    ("keys", "value", "told"),
    [
        (["outcome", "levers", "turbo"], True, "outcome.levers.turbo: unknown key"),
        (["request", "training", "batch_size"], 1.5, "request.training.batch_size: takes <class 'int'>, got 1.5"),
        (["outcome", "status"], "fine", "outcome.status: takes one of"),
        (["outcome", "phases", "steady", "seconds"], None, "outcome.phases.steady.seconds: takes <class 'float'>"),
        (["environment", "packages", "torch"], 2, "environment.packages.torch: takes"),
        (["material", "model", "source", "path"], "x", "material.model.source.path: unknown key"),
        (["outcome", "processes"], [{}], "outcome.processes[0].weights_gib: missing"),
    ],
)
def test_what_is_not_of_its_type_is_named_by_its_path(keys, value, told):
    record = copy.deepcopy(records.read_json(next(path for path in REFERENCE if path.parent.name == "nf4-r8-s0")))
    assert problems(record, TrainingRecord) == []
    *outer, last = keys
    place = record
    for key in outer:
        place = place[key]
    place[last] = value
    assert problems(record, TrainingRecord)[0].startswith(told)


def test_a_key_that_is_missing_is_named_by_its_path():
    record = records.read_json(next(path for path in REFERENCE if path.name == "training.json"))
    del record["outcome"]["train_seconds"]
    assert problems(record, TrainingRecord) == ["outcome.train_seconds: missing"]


def test_a_table_of_another_kind_is_told(tmp_path):
    header = [key.name for key in records_page.keys_of(HistoryRow)]
    table = tmp_path / "history.csv"
    for columns, cells, told in [
        (header, ["1", "2.5", "", "0.1", "10", "0.5"], []),
        (header, ["1", "2.5", "", "0.1", "ten", "0.5"], ["1.tokens: takes <class 'int'>, got 'ten'"]),
        (header, ["", "2.5", "", "0.1", "10", "0.5"], ["1.step: takes <class 'int'>, got ''"]),
        ([*header, "more"], ["1", "2.5", "", "0.1", "10", "0.5", "x"], ["more: unknown column"]),
        (header[:-1], ["1", "2.5", "", "0.1", "10"], ["seconds: missing"]),
        (header[::-1], ["0.5", "10", "0.1", "", "2.5", "1"], ["the columns are in another order"]),
    ]:
        table.write_text(",".join(columns) + "\n" + ",".join(cells) + "\n", encoding="utf-8")
        assert problems_of_table(table, HistoryRow) == told


def test_a_new_version_makes_nothing_again(finished_study, tmp_path):
    shutil.copytree(finished_study.folder, tmp_path / "study", symlinks=True)
    study = Study(tmp_path / "study")
    record = records.read_json(next((study.folder / "results/runs").glob("*/training.json")))
    assert record["environment"]["workflow_version"] == version.workflow_version()
    study.edit("pyproject.toml", f'version = "{version.workflow_version()}"', 'version = "99.0.0"')
    assert study.plan() == {}


def test_the_version_is_the_projects(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    assert version.workflow_version() is None
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "3.1.4"\n', encoding="utf-8")
    assert version.workflow_version() == "3.1.4"


def test_a_mended_description_changes_no_identity(tmp_path, monkeypatch):
    before = code_digest.script_digests()
    shutil.copytree(paths.SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(paths, "SCRIPTS", tmp_path / "scripts")
    edited = sorted((tmp_path / "scripts/frontier").glob("*_types.py"))
    assert {path.stem for path in edited} <= set(code_digest.UNCOUNTED)
    for path in edited:
        path.write_text(path.read_text("utf-8").replace("The ", "Mended: the "), encoding="utf-8")
    assert code_digest.script_digests() == before


def test_types_are_told_apart_by_their_keys():
    """A union of records takes the one that fits best: what is wrong is told of that one."""
    outcome = {"status": "oom", "phase": "train", "peak_host_gib": 1.0}
    assert problems(outcome, TrainingOutcome | BareOutcome) == []
    assert problems(outcome | {"speed": 1}, TrainingOutcome | BareOutcome) == ["speed: unknown key"]
    assert problems({"seconds": 1}, PhaseCost) == []
