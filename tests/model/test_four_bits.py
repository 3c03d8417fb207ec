"""How much of a base is in 4 bits: a mixture's experts are not, and what never is does not count."""

import shutil

import pytest
import tiny
import torch
from frontier import records
from frontier.material_types import BaseRecord
from frontier.model import bases, prepare, sources
from frontier.model import cache as cache_module
from safetensors import safe_open
from typed import problems

CPU = torch.device("cpu")
MIXTRAL = {
    "model_type": "mixtral",
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "tie_word_embeddings": False,
}
# Elements of the attention's four matrices, of all experts, and of router and norms, in two layers of a width of 32.
ATTENTION, EXPERTS, REST = 2 * 3072, 2 * 4 * 3 * 32 * 64, 2 * (4 * 32 + 2 * 32) + 32


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def base_of(folder, precision: str) -> dict:
    return bases.convert(sources.fetch({"source": "path", "path": str(folder)}, {}), precision, CPU)


@pytest.mark.parametrize("precision", ["nf4", "fp4"])
def test_a_mixtures_experts_stay_in_16_bits(tmp_path, cache, precision):
    base = base_of(tiny.write_model(tmp_path / "model", **MIXTRAL), precision)
    assert base["four_bit_share"] == ATTENTION / (ATTENTION + EXPERTS + REST) < 0.15
    stored = set()
    for path in (cache / base["folder"]).glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            names = file.keys()
            stored |= {name for name in names if file.get_slice(name).get_dtype() == "F16" and "experts" in name}
    assert stored


@pytest.mark.parametrize("changes", [{}, {"vocab_size": 20_000}, {"vocab_size": 20_000, "tie_word_embeddings": False}])
def test_embeddings_and_the_head_do_not_count(tmp_path, changes):
    """In no model are they in 4 bits: a small one whose vocabulary outweighs its layers is NF4 like any other."""
    base = base_of(tiny.write_model(tmp_path / "model", **changes), "nf4")
    linear = 2 * (3072 + 3 * 32 * 64)
    assert base["four_bit_share"] == linear / (linear + 5 * 32) > 0.99


def test_a_base_in_several_files_has_the_same_share(tiny_model, cache, monkeypatch):
    """A weight may lie in one file and what tells that it is quantised in the next."""
    shares = []
    for size in (bases._SAVED_BYTES, 5_000):
        monkeypatch.setattr(bases, "_SAVED_BYTES", size)
        base = base_of(tiny_model, "nf4")
        files = list((cache / base["folder"]).glob("*.safetensors"))
        shares.append(base["four_bit_share"])
        shutil.rmtree(cache / base["folder"])
    assert len(files) > 3
    assert shares[0] == shares[1]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_other_precisions_have_no_share(tiny_model, precision):
    assert "four_bit_share" not in base_of(tiny_model, precision)


def test_the_bases_record_has_the_share(tiny_model, tmp_path):
    paths = {"model": str(tmp_path / "model.json"), "base": str(tmp_path / "base.json")}
    paths["proof"] = str(tmp_path / "proof.json")
    records.write_json(paths["proof"], {"read_directly": []})
    records.write_json(paths["model"], sources.fetch({"source": "path", "path": str(tiny_model)}, {}))
    request = {"precision": "nf4", "device": "cpu", "cpu_threads": 1}
    prepare.prepare_base({"request": request, "input": paths, "output": paths})
    record = records.read_json(paths["base"])
    assert problems(record, BaseRecord) == []
    assert record["four_bit_share"] > 0.99
