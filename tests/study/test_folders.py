"""Who is in another folder than the study's reads what to type."""

import pytest
from conftest import ROOT
from frontier.errors import UserError
from frontier.study.folders import check_folder, check_targets


@pytest.fixture
def project(tmp_path, monkeypatch):
    for place in ("config", "studies/mine/config", "studies/mine/results"):
        (tmp_path / place).mkdir(parents=True)
    for place in ("config", "studies/mine/config"):
        (tmp_path / place / "config.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_without_a_configuration_is_no_study(project, monkeypatch):
    check_folder(has_own_files=False)
    monkeypatch.chdir(project / "studies")
    check_folder(has_own_files=True)
    with pytest.raises(UserError, match=r"studies has no config/config.yaml.*--directory FOLDER$"):
        check_folder(has_own_files=False, root=project)


def test_a_target_in_another_study_names_the_command(project):
    with pytest.raises(UserError) as told:
        check_targets(["--cores", "1", "studies/mine/results/summary.csv"])
    assert str(told.value).endswith("type snakemake --cores 1 --directory studies/mine results/summary.csv")


@pytest.mark.parametrize(
    "words",
    [
        "results/summary.csv",
        "--directory studies/mine results/summary.csv",
        "--configfile studies/mine/config/config.yaml -n",
        "--report studies/mine/results/report.zip",
        "studies/none/results/summary.csv",
        "",
    ],
)
def test_other_words_are_left_alone(project, words):
    check_targets(words.split())


def test_snakemake_itself_says_so(finished_study, tmp_path):
    elsewhere = finished_study.snakemake("--directory", str(tmp_path), "-n")
    assert elsewhere.returncode == 1
    assert elsewhere.stderr.splitlines()[-1].startswith(f"error: folder: {tmp_path} has no config/config.yaml")
    for study in (path.parent for path in (ROOT / "studies").glob("*/config")):
        assert "--directory studies/{folder.name}" in (study / "Snakefile").read_text("utf-8")
