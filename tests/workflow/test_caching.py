"""What an edit makes Snakemake run again: the contract of the README, a test for each row.

Every test edits a copy of one finished study and reads the plan of `snakemake -n`.
"""

import itertools
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from conftest import Study
from moves import move

LATER = {"state_findings": [""], "draw_figures": [""], "write_report": [""]}
AFTER = {"summarize_runs": [""]} | LATER
RUNS = [f"{p}-r{r}-s0" for p in ("fp16", "nf4") for r in (2, 4, 8)]
PACKAGE = "workflow/scripts/frontier"


@pytest.fixture
def study(finished_study, tmp_path):
    return copy_of(finished_study, tmp_path / "study")


def copy_of(study: Study, folder) -> Study:
    shutil.copytree(study.folder, folder, symlinks=True)
    return Study(folder)


def runs(*names: str) -> dict:
    return {"train_adapter": sorted(names), "evaluate_adapter": sorted(names)}


def retrained(**more) -> dict:
    return runs(*RUNS) | AFTER | more


def test_nothing_edited_plans_nothing(study):
    assert study.plan() == {}


def test_added_rank(study):
    study.configure(ranks=[2, 4, 8, 64])
    assert study.plan() == runs("fp16-r64-s0", "nf4-r64-s0") | AFTER


def test_added_seed(study):
    study.configure(seeds=[0, 1])
    assert study.plan() == runs(*[run.replace("s0", "s1") for run in RUNS]) | AFTER


def test_removed_rank(study):
    study.configure(ranks=[2, 8])
    assert study.plan() == AFTER


def test_reordered_lists(study):
    study.configure(ranks=[8, 2, 4], precisions=["nf4", "fp16"])
    assert study.plan() == AFTER


def test_learning_rate(study):
    study.configure(learning_rate=2e-2)
    assert study.plan() == retrained()


def test_two_settings_that_swap_their_values(study):
    study.configure(weight_decay=1.0, max_grad_norm=0.0)
    assert study.plan() == retrained()


def test_template_and_data_size(study):
    whole = retrained(tokenize_data=[""], evaluate_base=["fp16", "nf4"])
    study.configure(data={"template": "{question}\nSolution: "})
    assert study.plan() == whole
    study.configure(data={"template": "Question: {question}\nAnswer: ", "train_examples": 20})
    assert study.plan() == whole | {"fetch_data": [""]}


def test_weights_changed_in_place(study):
    """All studies of these tests share the model, so it is put back as it was."""
    weights = Path(study.config["model"]["path"]) / "model.safetensors"
    content, status = weights.read_bytes(), weights.stat()
    try:
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        plan = study.plan()
    finally:
        weights.write_bytes(content)
        os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    both = ["fp16", "nf4"]
    assert plan == retrained(
        fetch_model=[""], prove_model=[""], prepare_base=both, tokenize_data=[""], evaluate_base=both
    )


def test_figure_code_and_caption(study):
    study.edit(f"{PACKAGE}/results/figures/draw.py", ': "What rank buys"', ': "What a rank buys"')
    assert study.plan() == {"draw_figures": [""], "write_report": [""]}


def test_published_claims(study):
    study.edit("config/claims.yaml", "NF4 stays within a card of 6 GB.", "NF4 stays within 6 GB.")
    assert study.plan() == LATER


def test_summary_code(study):
    study.edit(f"{PACKAGE}/results/summary.py", '"; ".join(remarks)', '", ".join(remarks)')
    assert study.plan() == AFTER


def test_comment_and_docstring_in_training_code(study):
    study.edit(f"{PACKAGE}/run/train.py", "import shutil\n", "import shutil  # a comment\n")
    study.edit(f"{PACKAGE}/run/train.py", '"""Train one adapter and', '"""Train an adapter and')
    assert study.plan() == {}


def test_plumbing(study):
    study.edit(f"{PACKAGE}/jobs/device_locks.py", 'f"lora-frontier-', 'f"frontier-')
    study.edit(f"{PACKAGE}/jobs/child_process.py", "WATCH_SECONDS = 0.5", "WATCH_SECONDS = 0.25")
    assert study.plan() == {}


def test_proof_code(study):
    """What other code proved is made again with all that stands on it."""
    study.edit(f"{PACKAGE}/run/proof.py", "_RANK = 4", "_RANK = 5")
    both = ["fp16", "nf4"]
    assert study.plan() == retrained(prove_model=[""], prepare_base=both, evaluate_base=both)


def test_touched_files(study):
    for path in [*(study.folder / "workflow").rglob("*.*"), study.folder / "config/config.yaml"]:
        os.utime(path)
    assert study.plan() == {}


def test_moved_and_renamed_module(study):
    """Its file lies elsewhere and bears another name, and each import of it says so."""
    move(study.folder / PACKAGE, "model.packing", "run.laid_end_to_end")
    move(study.folder / PACKAGE, "run.checkpoints", "run.sealed_steps")
    assert study.plan() == {}


def test_logic_in_training_code(study):
    study.edit(f"{PACKAGE}/run/cost.py", '"steps": clock.steps', '"steps": 2 * clock.steps')
    assert study.plan() == retrained()


def test_logic_in_a_rules_own_script(study):
    study.edit("workflow/scripts/train_adapter.py", "supervise.run_job(", "print()\nsupervise.run_job(")
    assert study.plan() == retrained()


def test_logic_in_a_module_that_training_shares(study):
    study.edit(f"{PACKAGE}/model/loss.py", "2**23", "2**22")
    both = ["fp16", "nf4"]
    assert study.plan() == retrained(prove_model=[""], prepare_base=both, evaluate_base=both)


@pytest.mark.parametrize("change", [{"batch_size": 3}, {"compute_dtype": "bfloat16"}])
def test_evaluation_settings(study, change):
    study.configure(evaluation=change)
    assert study.plan() == {"evaluate_adapter": RUNS, "evaluate_base": ["fp16", "nf4"]} | AFTER


def test_one_configuration_again(study):
    plan = study.plan("-R", "results/runs/nf4-r4-s0/training.json")
    assert plan == runs("nf4-r4-s0") | AFTER


def test_upgraded_pins(study):
    for path in (study.folder / "envs").iterdir():
        path.write_text(re.sub(r"==(\d+)", "==9\\1", path.read_text("utf-8")), encoding="utf-8")
    assert study.plan() == {}


def test_lost_memory_and_an_edit_make_the_summary_refuse(study):
    shutil.rmtree(study.folder / ".snakemake")
    study.configure(learning_rate=2e-2)
    done = study.snakemake("--cores", "1", "results/summary.csv")
    assert done.returncode != 0
    refusals = [line for line in (done.stdout + done.stderr).splitlines() if "the row is refused" in line]
    assert len(refusals) == 1
    assert "results/runs/fp16-r2-s0/training.json" in refusals[0]
    assert not (study.folder / "results/summary.csv").exists(), "no table rather than one of another configuration"


def test_data_that_cannot_be_read_are_said_to_be_so_each_time(study):
    """Snakemake deletes what a failed job had made; once, the second call found nothing to do, by the old tokens."""
    path = study.folder / study.config["data"]["validation_file"]
    whole = path.read_text("utf-8")
    path.write_text(whole + "{not json\n", "utf-8")
    for _ in range(2):
        failed = study.snakemake("--cores", "1", "results/summary.csv")
        assert failed.returncode != 0
        assert f"{path.name}:{len(whole.splitlines()) + 1}: " in failed.stderr + failed.stdout
    path.write_text(whole, "utf-8")
    assert "fetch_data" in study.plan(TABLE)


def test_a_finished_study_without_its_resources_stands(study):
    shutil.rmtree(study.folder / "resources")
    assert set(study.plan(TABLE)) <= {"summarize_runs"}
    study.run(TABLE)
    assert study.plan(TABLE) == {}


def test_moved_study_is_still_finished(finished_study, tmp_path):
    assert copy_of(finished_study, tmp_path / "elsewhere").plan() == {}


def test_one_job_at_a_time_on_one_accelerator(new_study):
    """With eight cores, the starts and ends of jobs that use the accelerator never interleave."""
    study = new_study(ranks=[2], precisions=["fp32", "fp16"], steps=1)
    done = study.snakemake("--cores", "8", "results/summary.csv")
    assert done.returncode == 0, done.stderr
    spans = []
    for path in (study.folder / "results").glob("*/*/*.json"):
        environment = json.loads(path.read_text("utf-8"))["environment"]
        spans.append((environment["started_at"], environment["ended_at"]))
    spans.sort()
    assert len(spans) == 6
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_plan_of_a_thousand_runs(study):
    study.configure(ranks=list(range(1, 501)))
    plan = study.plan()
    assert len(plan["train_adapter"]) == 1000 - len(RUNS)


TABLE = "results/summary.csv"


def made_anew(study: Study, *targets: str) -> dict[str, str | None]:
    """Run the study; return each run that it made, with the run that it took it over from."""
    before = {path: path.stat().st_mtime_ns for path in study.folder.glob("results/runs/*/training.json")}
    study.run(TABLE, *targets)
    made = [
        path
        for path in study.folder.glob("results/runs/*/training.json")
        if path.stat().st_mtime_ns != before.get(path)
    ]
    return {path.parent.name: json.loads(path.read_text("utf-8")).get("taken_over_from") for path in made}


@pytest.mark.slow
def test_learning_rates_added_reordered_renamed_and_asked_for_again(new_study):
    """What was trained under one name is trained under no other; a rate more trains that rate alone."""
    study = new_study(ranks=[2], precisions=["fp32"], steps=2)
    assert made_anew(study) == {"fp32-r2-s0": None}
    study.configure(learning_rate=[1e-2, 2e-2])
    assert made_anew(study) == {"fp32-r2-s0-lr0.01": "fp32-r2-s0", "fp32-r2-s0-lr0.02": None}
    first, second = (study.folder / "results/runs" / name for name in ("fp32-r2-s0", "fp32-r2-s0-lr0.01"))
    for name in ("history.csv", "nll.parquet", "adapter/adapter_model.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    summary = (study.folder / "results/summary.csv").read_text("utf-8").splitlines()
    assert summary[0].startswith("run,precision,rank,seed,learning_rate,")
    assert [line.split(",")[4] for line in summary[1:]] == ["0.01", "0.02"]
    assert study.plan(TABLE) == {}
    study.configure(learning_rate=["2.0e-2", 0.01])
    assert study.plan(TABLE) == {"summarize_runs": [""]}
    study.configure(learning_rate=[1e-2, 2e-2, 4e-2])
    assert made_anew(study) == {"fp32-r2-s0-lr0.04": None}
    study.configure(learning_rate=1e-2)
    assert made_anew(study) == {}
    # Another rate under the short name: it was trained under the long one.
    study.configure(learning_rate=2e-2)
    assert made_anew(study) == {"fp32-r2-s0": "fp32-r2-s0-lr0.02"}
    # What is asked for again is made again.
    assert made_anew(study, "-R", "results/runs/fp32-r2-s0/training.json") == {"fp32-r2-s0": None}
    off_the_grid = "results/runs/fp32-r2-s0-lr0.04/training.json"
    assert made_anew(study, off_the_grid) == {}
    study.configure(learning_rate=[1e-2, 2e-2])
    refused = study.snakemake("-n", "results/runs/fp32-r2-s0/training.json")
    assert refused.returncode != 0
    assert "error: run: got fp32-r2-s0, which lacks one of the several values of learning_rate" in refused.stderr
    assert "Traceback" not in refused.stderr
