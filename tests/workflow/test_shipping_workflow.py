"""What is shipped of a run, through Snakemake: the table of ways, the files, and each loaded as a user would."""

import json
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import torch
from conftest import ROOT, Study
from frontier import ways
from frontier.model.data.tokens import load_tokens
from frontier.run.shipping import judged_gguf, llama_library
from frontier.run.shipping.llama_cpp import LlamaCpp
from peft import PeftModel
from safetensors.torch import load_file
from shipped import write_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

RUN = "nf4-r4-s0"
SHIPPED = f"results/shipped/{RUN}"
FILES = [f"{SHIPPED}/{name}" for name in ("adapter", "merged", f"{RUN}-Q8_0.gguf", f"{RUN}-adapter.gguf")]
PACKAGE = "workflow/scripts/frontier"
pytestmark = pytest.mark.skipif(bool(llama_library.missing()), reason=llama_library.HOW_TO_INSTALL)


@pytest.fixture(scope="module")
def shipped_study(new_study, tiny_model, tmp_path_factory) -> Study:
    """A study of one NF4 run, shipped in every way; its model's tokenizer has merged pairs."""
    model = shutil.copytree(tiny_model, tmp_path_factory.mktemp("shipped") / "tiny-base")
    write_tokenizer(model)
    study = new_study(
        precisions=["nf4"],
        ranks=[4],
        steps=30,
        batch_size=8,
        model={"path": str(model)},
        accuracy={"measure": True, "examples": 4, "max_new_tokens": 8},
        shipping={"measure": True, "quantisations": ["Q8_0"], "license": "mit"},
    )
    done = study.run("results/report.html", "results/figures/shipping.png", *FILES)
    study.printed = done.stdout + done.stderr
    return study


@pytest.fixture
def study(shipped_study, tmp_path):
    shutil.copytree(shipped_study.folder, tmp_path / "study", symlinks=True)
    return Study(tmp_path / "study")


def table(study: Study) -> pd.DataFrame:
    return pd.read_csv(study.folder / "results/shipping.csv").set_index("way")


def model_of(study: Study, **options):
    return AutoModelForCausalLM.from_pretrained(study.config["model"]["path"], dtype=torch.float32, **options)


def loss_of(model, study: Study) -> float:
    """The mean loss of transformers' own forward pass over the validation answers, one example at a time."""
    total = count = 0
    for example in load_tokens(str(study.folder / "resources/tokens/validation.parquet")):
        ids, labels = (torch.tensor([list(example[name])]) for name in ("input_ids", "labels"))
        with torch.no_grad():
            number = int((labels[:, 1:] != -100).sum())
            total += float(model(ids, labels=labels).loss) * number
        count += number
    return total / count


def test_every_way_has_a_row_that_is_measured_or_says_why_not(shipped_study):
    rows = table(shipped_study)
    assert list(rows.index) == ways.all_ways(["Q8_0"])
    assert rows.loc["over-nf4", "status"] == "not applicable"
    assert rows.loc["over-nf4", "reason"] == "it was trained over that base: see as-trained"
    measured = rows.drop("over-nf4")
    assert (measured["status"] == "ok").all(), measured["reason"].tolist()
    assert measured["size_mib"].gt(0).all()
    beside = measured.drop("as-trained")
    assert beside["against_low"].le(beside["against_as_trained"]).all()
    assert beside["against_as_trained"].le(beside["against_high"]).all()
    assert set(measured["recommended_for"].dropna()) == {"adapter", "merged model", "llama.cpp"}
    assert rows.loc["over-16-bit-gguf", "types"].startswith("F32:")
    assert rows.loc["merged-original-Q8_0", "types"].startswith("Q8_0:")
    assert 8.4 < rows.loc["merged-original-Q8_0", "bits_a_weight"] < 9.5


def test_the_recommended_run_is_shipped_and_the_study_says_what_that_costs(shipped_study):
    results = shipped_study.folder / "results"
    assert json.loads((results / "shipping/runs.json").read_text("utf-8")) == [RUN]
    claims = {one["id"]: one for one in json.loads((results / "findings.json").read_text("utf-8"))}
    one, rows = claims["shipping_cost"], table(shipped_study)
    assert one["verdict"] == "supported"
    worst = rows["against_as_trained"].idxmax()
    assert ways.in_words(worst) in one["sentence"]
    page = (results / "report.html").read_text("utf-8")
    assert '<section id="shipping"' in page
    assert "to load the adapter: over the base it was trained on, as trained" in page
    assert page.count('aria-label="Perplexity of each way of using the adapter against the run as trained"') == 2


def test_what_is_the_same_function_has_the_same_loss(shipped_study):
    """Merged from the dequantised base it is the adapter as trained; from the original one, the adapter over that."""
    loss = table(shipped_study)["eval_loss"]
    assert loss["merged-dequantised"] == pytest.approx(loss["as-trained"], abs=5e-4)
    assert loss["merged-original"] == pytest.approx(loss["over-16-bit"], abs=5e-4)
    assert loss["over-16-bit-gguf"] == pytest.approx(loss["over-16-bit"], abs=2e-3)
    # Ways that differ do so in this study, or these lines would hold of anything.
    assert abs(loss["over-16-bit"] - loss["as-trained"]) > 2e-3


def test_the_merged_model_is_what_the_table_says_by_transformers_itself(shipped_study):
    rows, folder = table(shipped_study), shipped_study.folder / SHIPPED / "merged"
    best = rows.loc[["merged-original", "merged-dequantised"], "eval_loss"].idxmin()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert loss_of(model, shipped_study) == pytest.approx(rows.loc[best, "eval_loss"], abs=1e-3)
    words = {"merged-original": "the original 16-bit weights", "merged-dequantised": "quantised weights, dequantised"}
    assert words[best] in (folder / "README.md").read_text("utf-8")
    assert AutoTokenizer.from_pretrained(folder)("12 + 3")["input_ids"]


def test_the_adapter_names_its_base_and_its_card_loads_it(shipped_study):
    folder = shipped_study.folder / SHIPPED / "adapter"
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    model = json.loads((shipped_study.folder / "resources/model.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == "tiny-base"
    assert config["revision"] == f"sha256:{model['digest']}"
    card = (folder / "README.md").read_text("utf-8")
    assert card.startswith("---\n")
    assert "license: mit" in card
    assert "base_model:" not in card
    assert re.search(r"perplexity \d+\.\d{3} \(\d+\.\d{3} to \d+\.\d{3}, 95%, over other examples\) on 12", card)
    assert "train.jsonl, 40 training examples" in card
    for text in (card, json.dumps(config)):
        assert str(shipped_study.folder) not in text
        assert shipped_study.config["model"]["path"] not in text
    lines = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    assert len(lines.splitlines()) == 5
    lines = lines.replace("path/to/tiny-base", shipped_study.config["model"]["path"])
    names: dict = {}
    exec(lines.replace("path/to/this/folder", str(folder)), names)
    assert isinstance(names["model"], PeftModel)
    assert names["tokenizer"]("12 + 3")["input_ids"]
    tensors = load_file(folder / "adapter_model.safetensors")
    trained = load_file(shipped_study.folder / f"results/runs/{RUN}/adapter/adapter_model.safetensors")
    assert all(torch.equal(tensors[name], trained[name]) for name in trained)


def test_the_gguf_files_load_in_llama_cpp(shipped_study):
    folder, rows = shipped_study.folder / SHIPPED, table(shipped_study)
    examples = load_tokens(str(shipped_study.folder / "resources/tokens/validation.parquet"))
    best = rows.loc[["merged-original", "merged-dequantised"], "eval_loss"].idxmin()
    with LlamaCpp(folder / f"{RUN}-Q8_0.gguf", 128, 1) as model:
        losses = judged_gguf.example_losses(model, examples)
    found = losses["nll"].sum() / losses["tokens"].sum()
    assert found == pytest.approx(rows.loc[f"{best}-Q8_0", "eval_loss"], abs=1e-4)
    assert re.search(
        rf"{RUN}-Q8_0\.gguf: .* bits a weight .* logits within \d\.\de-0\d in float32", shipped_study.printed
    )
    assert (folder / f"{RUN}-adapter.gguf").stat().st_size > 1000


def test_each_way_answers_the_problems_that_the_run_did(shipped_study):
    rows = table(shipped_study)
    own = json.loads((shipped_study.folder / f"results/runs/{RUN}/accuracy.json").read_text("utf-8"))["outcome"]
    assert rows.loc["as-trained", "accuracy_strict"] == own["strict"]
    for way in rows.index.drop("over-nf4"):
        assert 0 <= rows.loc[way, "accuracy_flexible"] <= 1
    for way in ("over-16-bit", "merged-original-Q8_0"):
        record = json.loads((shipped_study.folder / f"results/shipping/{RUN}/{way}.json").read_text("utf-8"))
        assert record["outcome"]["accuracy"]["examples"] == 4


def test_without_llama_cpp_its_rows_say_what_to_install_and_the_others_stand(study, tmp_path, monkeypatch):
    before = table(study)
    hidden = (
        "import importlib.util as util\nfound = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'xllamacpp' else found(name, *more)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(hidden)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    study.run("results/shipping.csv")
    after = table(study)
    of_llama_cpp = [name for name in after.index if ways.way_of(name).is_gguf]
    line = "xllamacpp not installed: pip install -c envs/constraints.txt -r envs/shipping.txt"
    assert set(after.loc[of_llama_cpp, "reason"]) == {line}
    assert set(after.loc[of_llama_cpp, "status"]) == {"unmeasured"}
    others = after.index.drop(of_llama_cpp)
    assert after.loc[others, "eval_loss"].equals(before.loc[others, "eval_loss"])


def blocks(language: str) -> list[str]:
    """The blocks of the README's part on using what was trained, for this study's run."""
    text = (ROOT / "README.md").read_text("utf-8").split("## Use what you trained")[1].split("\n## ")[0]
    found = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return [block.replace("nf4-r8-s0", RUN) for block in found]


def test_the_readmes_lines_make_the_files(study):
    """Snakemake's lines have nothing left to do in this study, and name all that there is to make."""
    commands = [line for block in blocks("sh") if "not run by the tests" not in block for line in block.splitlines()]
    targets = [line.split("#")[0].removeprefix("snakemake --cores 1 ").split() for line in commands]
    assert targets[0][:2] == ["pip", "install"]
    assert {name for line in targets[1:] for name in line} == {"results/shipping.csv", *FILES}
    assert study.plan("results/shipping.csv", *FILES) == {}


@pytest.mark.parametrize("block", blocks("python"), ids=["transformers", "llama.cpp"])
def test_the_readmes_python_runs(shipped_study, block):
    command = [sys.executable, "-c", block]
    done = subprocess.run(command, cwd=shipped_study.folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout


def test_a_quantisation_added_makes_its_ways_alone(study):
    """The run is named, so that no summary of the edited configuration has to say which is recommended."""
    study.configure(shipping={"quantisations": ["Q8_0", "Q4_0"], "runs": [RUN]})
    plan = study.plan("results/shipping.csv")
    assert sorted(plan) == ["gather_shipping", "measure_way"]
    assert len(plan["measure_way"]) == 2


def test_a_card_whose_text_changes_trains_and_measures_nothing(study):
    study.edit(f"{PACKAGE}/results/shipping/card.py", "trained and measured by lora-frontier", "by lora-frontier")
    assert study.plan("results/shipping.csv", *FILES[:2]) == {"write_card": [RUN], "ship_adapter": [RUN]}


def test_merging_code_trains_nothing(study):
    study.edit(f"{PACKAGE}/run/shipping/merging.py", "_SHARD_BYTES = 2**30", "_SHARD_BYTES = 2**29")
    plan = study.plan("results/shipping.csv")
    assert set(plan) == {"measure_way", "check_export", "gather_shipping"}


def test_a_quantisation_that_llama_cpp_does_not_have_is_one_line_and_no_file(study):
    target = f"{SHIPPED}/{RUN}-Q9_K.gguf"
    done = study.snakemake("--cores", "1", target)
    assert done.returncode != 0
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "error" in line]
    assert lines == [f"error: shipping: got Q9_K, takes a quantisation of llama.cpp: {', '.join(ways.GGUF_FILES)}"]
    assert not (study.folder / target).exists()


def test_a_run_that_did_not_end_ok_ships_nothing(study):
    """Its rows say how it ended."""
    path = study.folder / f"results/runs/{RUN}/training.json"
    record = json.loads(path.read_text("utf-8"))
    record["outcome"] |= {"status": "diverged", "reason": "loss not finite"}
    path.write_text(json.dumps(record))
    shutil.rmtree(study.folder / FILES[0])
    done = study.snakemake("--cores", "1", "--allowed-rules", "write_card", "ship_adapter", "--forcerun", FILES[0])
    assert done.returncode != 0
    assert (
        f"error: shipping: {RUN}: the run ended diverged: loss not finite; nothing is written"
        in done.stderr + done.stdout
    )
    assert not (study.folder / FILES[0]).exists()
    assert [*(study.folder / SHIPPED).glob(".*")] == []
