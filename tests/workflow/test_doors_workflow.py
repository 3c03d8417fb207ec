"""What is called a model, through Snakemake: the fetch says in one line why it is none, and nothing is made of it."""

import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import tiny
from doors import POINTER
from frontier import paths, records
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="module")
def study(new_study):
    return new_study(ranks=[2], evaluation={"batch_size": 4})


def refused(study, folder, *targets: str, **changes) -> str:
    """Return the one line in which a study of the folder ends."""
    study.configure(model={"source": "path", "path": str(folder)}, **changes)
    done = study.snakemake("--cores", "1", *targets)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: ")]
    assert done.returncode
    assert len(lines) == 1, done.stdout + done.stderr
    return lines[0]


def test_a_model_that_is_quantised_already_is_refused_at_fetch(study, tiny_model, tmp_path):
    """Also where a plan is asked for before: it would count two bytes a weight."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    line = f"error: model: {folder} is quantised already (quantization_config in config.json: bitsandbytes); give the "
    assert refused(study, folder, precisions=["fp16", "nf4"]).startswith(line)
    assert not (study.folder / "resources/model.json").exists()
    assert not (study.folder / "resources/bases").exists()
    assert refused(study, folder, "results/plan.csv").startswith(line)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("model.safetensors", lambda whole: whole[: len(whole) // 2], "model.safetensors is cut short: "),
        ("tokenizer.json", lambda whole: POINTER.encode(), "tokenizer.json is a pointer of Git LFS, not the file; run"),
        ("tokenizer.json", None, "its tokenizer is tokenizer.model alone, which takes sentencepiece and protobuf to"),
    ],
)
def test_a_model_that_is_not_whole_is_refused_at_fetch(study, folder, name, content, line):
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    if content:
        (folder / name).write_bytes(content(whole))
    else:
        (folder / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    assert refused(study, folder, "resources/model.json").startswith(f"error: model: {folder}: {line}")


def test_targets_that_no_layer_has_are_refused_before_any_training(new_study, tiny_model):
    study = new_study(ranks=[2])
    line = refused(study, tiny_model, precisions=["fp32"], lora={"targets": ["q_proj", "v_porj"]})
    assert line.startswith(
        "error: lora.targets: got v_porj, which no layer is called; there are down_proj, gate_proj, k_proj"
    )
    assert not list((study.folder / "results").glob("runs/*/training.json"))


def test_layers_that_are_no_linear_ones_are_trained(new_study, tmp_path):
    """gpt2's are its own kind; stored in 16 bits they once kept every gradient from their adapters."""
    folder = tiny.write_model(tmp_path / "model", model_type="gpt2", n_embd=64, n_layer=2, n_head=4)
    study = new_study(model={"source": "path", "path": str(folder)}, precisions=["fp16"], ranks=[2], steps=2)
    study.run("results/runs/fp16-r2-s0/training.json")
    outcome = records.read_json(study.folder / "results/runs/fp16-r2-s0/training.json")["outcome"]
    assert outcome["status"] == "ok"
    assert outcome["adapter"]["tensors"] == 2 * 2 * 4


def test_eight_bits_train_on_a_cpu_and_come_near_the_base_that_they_store(new_study):
    """LoRA's matrices once lost their gradient over int8; bitsandbytes computes its products without CUDA too."""
    study = new_study(precisions=["int8", "fp32"], ranks=[4], steps=8)
    study.run("results/summary.csv")
    table = pd.read_csv(study.folder / "results/summary.csv").set_index("precision")
    assert list(table["status"]) == ["ok", "ok"]
    assert table.loc["int8", "perplexity"] == pytest.approx(table.loc["fp32", "perplexity"], rel=0.02)
    assert table.loc["int8", "base_perplexity"] == pytest.approx(table.loc["fp32", "base_perplexity"], rel=0.02)
    assert table.loc["int8", "perplexity"] < 0.6 * table.loc["int8", "base_perplexity"]
    # Another base: stored in 8 bits it is not the same to the last digit.
    assert table.loc["int8", "base_perplexity"] != table.loc["fp32", "base_perplexity"]


def test_an_adapter_beside_the_weights_is_refused_at_fetch(study, tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    save_file({f"base_model.{key}": weight for key, weight in weights.items()}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "x"}))
    assert refused(study, folder).startswith(f"error: model: {folder} has an adapter beside its weights, which loading")


def test_rows_past_a_table_of_positions_are_refused_before_any_training(study, tmp_path):
    folder = tiny.write_model(
        tmp_path / "model", model_type="opt", max_position_embeddings=44, word_embed_proj_dim=32, ffn_dim=64
    )
    line = refused(study, folder, precisions=["fp32"])
    assert line.startswith(
        "error: data.max_length: takes at most 44, for which the model has a table of positions; got "
    )
    assert not (study.folder / "results/runs").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="mounts")
def test_a_checkout_that_cannot_be_written_to(new_study, tmp_path):
    """The results lie elsewhere; the cache is beside the code, until the variable says otherwise."""
    study, away = new_study(precisions=["nf4"], ranks=[2]), tmp_path / "away"
    shutil.copytree(study.folder / "config", away / "config")
    for name in ("train.jsonl", "validation.jsonl"):
        shutil.copy(study.folder / name, away)
    command = [sys.executable, "-B", "-m", "snakemake", "--snakefile", str(study.folder / "Snakefile")]
    command += ["--directory", str(away), "--cores", "1", "resources/bases/nf4.json"]
    if os.geteuid():
        study.folder.chmod(0o555)
        within = []
    else:
        # Nothing keeps root from writing but a file system that does.
        mounts = f'mount --bind "{study.folder}" "{study.folder}" && mount -o remount,ro,bind "{study.folder}"'
        within = ["unshare", "--mount", "sh", "-c", f'{mounts} || exit 77; exec "$@"', "sh"]
    done = subprocess.run([*within, *command], cwd=away, capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("no mounts here")
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stdout + done.stderr
    assert lines[0].startswith(
        f"error: model: models and bases cannot be kept in {study.folder}/resources/cache ([Errno"
    )
    assert lines[0].endswith("; set FRONTIER_CACHE to a folder that can be written to")
    variables = os.environ | {paths.CACHE_VARIABLE: str(away / "cache")}
    done = subprocess.run([*within, *command], cwd=away, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((away / "cache/bases").glob("*-nf4-*"))
