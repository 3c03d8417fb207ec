"""GGUF files of each family and of their adapters, through llama.cpp: the logits are those of transformers."""

import numpy as np
import pytest
import torch
from families import configuration
from frontier import records, ways
from frontier.run.shipping import exports, gguf_adapter, gguf_families, gguf_model, gguf_types, llama_library
from frontier.run.shipping.adapter import read_adapter
from frontier.run.shipping.llama_cpp import LlamaCpp
from frontier.run.shipping.room import Unsuited
from gguf import GGMLQuantizationType as T
from gguf import GGUFReader
from shipped import write_adapter, write_family
from transformers import AutoConfig

needs_llama_cpp = pytest.mark.skipif(bool(llama_library.missing()), reason=llama_library.HOW_TO_INSTALL)
ROPE = {"rope_theta": 10000.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SIX = ["sliding_attention"] * 5 + ["full_attention"]
FAMILIES = [
    ("llama", {}),
    ("llama", {"attention_bias": True, "tie_word_embeddings": True}),
    ("llama", {"rope_parameters": ROPE | LLAMA3 | {"original_max_position_embeddings": 64}}),
    ("llama", {"rope_parameters": ROPE | {"rope_type": "linear", "factor": 4.0}}),
    (
        "llama",
        {"rope_parameters": ROPE | {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}},
    ),
    ("mistral", {}),
    ("qwen2", {}),
    ("qwen3", {}),
    ("gemma3_text", {"num_hidden_layers": 6, "layer_types": SIX, "query_pre_attn_scalar": 16}),
    ("phi3", {}),
    ("smollm3", {"num_hidden_layers": 4}),
]
ROWS = [list(range(3, 63)), [150, 7, 7, 9, 280, 5]]


def own_logits(model) -> list[np.ndarray]:
    with torch.no_grad():
        return [model(torch.tensor([row])).logits[0].float().numpy() for row in ROWS]


@needs_llama_cpp
@pytest.mark.parametrize(("family", "changes"), FAMILIES)
def test_a_file_and_an_adapter_over_it_give_transformers_logits(tmp_path, family, changes):
    model = write_family(tmp_path / "model", family, **changes)
    source = gguf_model.open_source(tmp_path / "model")
    assert exports.compare_file(source, own_logits(model), ROWS, tmp_path) < 2e-2
    adapted = write_adapter(model, tmp_path / "adapter", rslora=True)
    gguf_adapter.write_adapter(read_adapter(tmp_path / "adapter"), source.config, tmp_path / "a.gguf", "a")
    wanted = own_logits(adapted)
    assert exports.compare_file(source, wanted, ROWS, tmp_path, tmp_path / "a.gguf") < 2e-2
    with pytest.raises(Unsuited, match=r"^shipping: llama\.cpp's logits differ from transformers' by "):
        exports.compare_file(source, wanted, ROWS, tmp_path)


@needs_llama_cpp
@pytest.mark.parametrize("place", ["model", "adapter"])
def test_rows_that_are_not_regrouped_are_seen_by_their_logits(tmp_path, monkeypatch, place):
    """Such a file loads in silence, and its mean loss may even be lower."""
    model = write_family(tmp_path / "model", "llama")
    adapted = write_adapter(model, tmp_path / "adapter")
    source, adapter = gguf_model.open_source(tmp_path / "model"), read_adapter(tmp_path / "adapter")
    right, as_they_are = gguf_families.regrouped, lambda rows, heads: rows
    monkeypatch.setattr(gguf_families, "regrouped", as_they_are if place == "adapter" else right)
    gguf_adapter.write_adapter(adapter, source.config, tmp_path / "a.gguf", "a")
    monkeypatch.setattr(gguf_families, "regrouped", as_they_are if place == "model" else right)
    with pytest.raises(Unsuited, match="no GGUF file of this llama is written"):
        exports.compare_file(source, own_logits(adapted), ROWS, tmp_path, tmp_path / "a.gguf")


@needs_llama_cpp
def test_an_example_beyond_the_window_of_a_model_is_seen_by_its_logits(tmp_path):
    """llama.cpp computes Mistral without its window."""
    model = write_family(tmp_path, "mistral", sliding_window=32)
    with pytest.raises(Unsuited, match="logits differ"):
        exports.compare_file(gguf_model.open_source(tmp_path), own_logits(model), ROWS, tmp_path)


def test_regrouping_interleaves_the_halves_of_each_head():
    rows = np.arange(8)[:, None]
    assert gguf_families.regrouped(rows, 2).ravel().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize(
    ("family", "changes", "line"),
    [
        ("olmo2", {}, r"^shipping: a GGUF file of olmo2 is not written here; there are llama, mistral"),
        ("gemma3_text", {"layer_types": [SIX[-1], SIX[0], SIX[-1]]}, "follow no regular pattern"),
        ("llama", {"rope_parameters": ROPE | {"rope_type": "dynamic", "factor": 2.0}}, "stretched by dynamic"),
    ],
)
def test_what_llama_cpp_does_not_compute_so_is_one_line(family, changes, line):
    options = configuration(family) | changes
    config = AutoConfig.for_model(options.pop("model_type"), **options)
    with pytest.raises(Unsuited, match=line):
        _ = gguf_families.family_of(config), gguf_families.settings_of(config)


@needs_llama_cpp
def test_a_quantised_file_says_what_it_really_holds(tmp_path):
    """Rows of 64 take no blocks of 256: K types give way to those of 32."""
    write_family(tmp_path, "llama")
    source = gguf_model.open_source(tmp_path)
    written = gguf_model.write_model(source, tmp_path / "q.gguf", "Q4_K_M", "q")
    assert set(written.types) == {"Q5_0", "Q8_0", "F32"}
    assert 5.5 < written.bits < 8.5
    assert written.size == (tmp_path / "q.gguf").stat().st_size
    eight = gguf_model.write_model(source, tmp_path / "8.gguf", "Q8_0", "q")
    assert set(eight.types) == {"Q8_0", "F32"}
    with LlamaCpp(tmp_path / "8.gguf", 64, 1) as model:
        found = model.logits(ROWS[0])
        assert np.array_equal(model.logits(ROWS[0], [5, 9]), found[[5, 9]])
        answer = model.greedy(ROWS[0][:3], 4, ends=[])
        assert len(answer) == 4
        assert answer[0] == found[2].argmax()
        assert model.greedy(ROWS[0][:3], 4, ends=answer[:1]) == answer[:1]
    text = GGUFReader(tmp_path / "q.gguf").get_field("tokenizer.ggml.pre")
    assert text.contents() == "gpt-2"


def test_the_mix_of_a_medium_quantisation_is_llama_cpps():
    """Of 24 layers, values and down projections of the first, the last and each third have more bits."""

    def kinds(part: str, quantisation: str = "Q4_K_M") -> list:
        return [gguf_types.type_of(f"blk.{n}.{part}.weight", (256, 512), quantisation, 24, True) for n in range(24)]

    more = [n for n, kind in enumerate(kinds("ffn_down")) if kind == T.Q6_K]
    assert more == [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]
    assert kinds("attn_v") == kinds("ffn_down")
    assert set(kinds("attn_q")) == {T.Q4_K}
    assert kinds("attn_v", "Q4_K_S")[:5] == [T.Q5_K] * 4 + [T.Q4_K]
    assert gguf_types.type_of("output.weight", (512, 256), "Q4_0", 24, True) == T.Q6_K
    assert gguf_types.type_of("token_embd.weight", (512, 256), "Q4_0", 24, True) == T.Q4_0
    assert gguf_types.type_of("token_embd.weight", (512, 576), "Q4_K_M", 24, False) == T.Q8_0
    assert gguf_types.type_of("blk.0.attn_norm.weight", (256,), "Q4_K_M", 24, True) == T.F32


def test_every_quantisation_that_may_be_asked_for_is_written():
    assert set(gguf_types.MOSTLY) == {"f32", *ways.GGUF_FILES}


@needs_llama_cpp
def test_an_other_build_of_llama_cpp_is_refused(monkeypatch, tmp_path):
    """Its settings may stand in other places, where writing one would change another."""
    monkeypatch.setattr(llama_library, "_N_CTX", (0, 1024))
    with pytest.raises(
        Exception, match=r"^xllamacpp: this version has other settings than the pinned one; pip install"
    ):
        llama_library.context_settings(8, 1, exact=False)


@needs_llama_cpp
def test_a_file_that_is_none_is_one_line(tmp_path):
    (tmp_path / "none.gguf").write_bytes(b"GGUF of nothing")
    with pytest.raises(Exception, match=r"^none\.gguf: llama\.cpp does not load it$"):
        LlamaCpp(tmp_path / "none.gguf", 8, 1)


@pytest.mark.parametrize(
    ("status", "random", "absent", "line"),
    [
        ("oom", False, [], "the run ended oom: too large"),
        ("ok", True, [], "its base is an architecture with random weights, so there is nothing to ship"),
        ("ok", False, ["libgguf"], f"libgguf not installed: {llama_library.HOW_TO_INSTALL}"),
        ("spilled", False, [], None),
    ],
)
def test_what_keeps_a_run_from_being_exported_is_one_line(tmp_path, monkeypatch, status, random, absent, line):
    records.write_json(tmp_path / "training.json", {"outcome": {"status": status, "reason": "too large"}})
    records.write_json(tmp_path / "model.json", {"architecture_only": random})
    monkeypatch.setattr(llama_library, "missing", lambda: absent)
    inputs = {name: tmp_path / f"{name}.json" for name in ("training", "model")}
    assert exports.unavailable(inputs) == line
    if absent:
        assert exports.unavailable(inputs, needs_llama_cpp=False) is None
