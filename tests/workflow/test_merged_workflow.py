"""The page of several studies through Snakemake: one command, other limits without a training, one line if refused."""

import json

import pytest
import several


@pytest.fixture(scope="module")
def merging(new_study, tmp_path_factory):
    """A study that trains nothing, and the folders of two finished ones."""
    study, folder = new_study(), tmp_path_factory.mktemp("several")
    return study, several.pair(folder)


def merged(study, folders: list[str], *targets: str, **limits):
    options = [f"merge={json.dumps(folders)}", f"recommend={json.dumps(limits)}"]
    return study.snakemake("--cores", "1", *(targets or ["results/merged.html"]), "--config", *options)


def test_one_command_answers_within_any_limits_and_trains_nothing(merging):
    study, folders = merging
    for limits, choice in (
        ({"memory_gib": 10}, f"nf4 rank 16 at 1e-3, on {several.SMALL}"),
        ({"memory_gib": 10, "hours": 2}, f"nf4 rank 8 at 1e-3, on {several.BIG}"),
    ):
        done = merged(study, folders, **limits)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f'<p class="choice">{choice}</p>' in (study.folder / "results/merged.html").read_text("utf-8")
        assert f": {choice} (limits: 10 GiB" in done.stdout + done.stderr
    assert not (study.folder / "results/runs").exists()
    assert "rule train" not in done.stderr


def test_a_folder_that_is_no_study_ends_in_one_line(merging):
    study, folders = merging
    for target in ("results/merged.html", "results/merged.csv"):
        done = merged(study, [*folders, str(study.folder / "config")], target)
        assert done.returncode == 1
        (line,) = [line for line in done.stderr.splitlines() if "merge" in line and "error" in line]
        assert line.startswith(f"error: merge: {study.folder}/config is no finished study")
        assert "Traceback" not in done.stderr


def test_nothing_to_merge_is_said(merging):
    done = merged(merging[0], [])
    assert "error: config: merge: got nothing" in done.stderr
