"""The proof of a model before it is measured: which families it finds right, and which faults it finds."""

import os
import re
import shutil

import pytest
import tiny
import torch
from conftest import ROOT, Study
from families import FAMILIES, configuration
from family_configs import config_of
from frontier import records
from frontier.errors import UserError
from frontier.model import attention, packing, reach, shape
from frontier.model.execution import OWN, Execution, method_for
from frontier.run import own_pass, proof_material, prove
from frontier.run import proof as proof_module
from transformers import AutoConfig, AutoModelForCausalLM

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Matrices this small are slower on several threads, much so beside another process of tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def proved(family: str, **changes) -> dict:
    return prove.proof_of(config_of(family, **changes), CPU)


def ways(found: dict) -> list[tuple]:
    return [tuple(way.values()) for way in found["ways"]]


def table() -> dict[str, list[str]]:
    """The rows of docs/models.md, by family."""
    lines = (ROOT / "docs/models.md").read_text("utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows if row[0] in FAMILIES}


def test_every_family_is_right_or_refused_and_as_the_page_says():
    """Right means: by the proof itself, which compares with each family's own forward pass."""
    said = table()
    assert set(said) == set(FAMILIES)
    assert len(said) >= 60
    for family in FAMILIES:
        rows, up_to, head, left_out, *_, refused = said[family]
        if refused:
            with pytest.raises(UserError, match=re.escape(refused)):
                proved(family)
            continue
        found = proved(family)
        way = found["ways"][0]
        assert rows == ("packed" if way["rows"] == "packed" else "one example"), family
        assert (up_to, head) == (str(way["up_to"] or ""), way["head"]), family
        assert left_out == ", ".join(found["left_out"]), family
        assert max(size for size in found["sizes"].values() if size is not None) < 1e-3, family


@pytest.mark.parametrize("family", ["lfm2", "mamba2", "qwen3_next", "bloom", "falcon:alibi"])
def test_what_leaks_or_has_no_mask_in_a_packed_row_is_computed_one_example_a_row(family):
    found = proved(family)
    assert ways(found)[0][:2] == ("single", "own")
    assert re.search("(own|packed), by", found["failed"]["packed / packed / own"])


@pytest.mark.parametrize("family", ["mistral:window", "gemma2", "gemma3_text", "gpt_oss", "olmo3", "gemma4_text"])
def test_windows_caps_and_sinks_are_computed_in_packed_rows(family):
    assert ways(proved(family))[0][:2] == ("packed", "packed")


@pytest.mark.parametrize(
    ("family", "name", "replaced"),
    [
        ("mistral:window", "_seen", lambda query, window: _seen(query, None)),
        ("gemma2", "attend", lambda q, k, v, scores, product: _attend(q, k, v, scores._replace(cap=None), product)),
        ("gpt_oss", "attend", lambda q, k, v, scores, product: _attend(q, k, v, scores._replace(sinks=None), product)),
    ],
)
def test_an_attention_without_what_the_family_has_is_found(monkeypatch, family, name, replaced):
    module = attention if name == "_seen" else packing
    monkeypatch.setattr(module, name, replaced)
    of_any_length = [way for way in ways(proved(family)) if way[3] is None]
    assert of_any_length[0][:2] == ("single", "own")


_seen, _attend = attention._seen, attention.attend


def test_examples_that_see_each_other_are_found(monkeypatch):
    def together(module, query, key, value, attention_mask, scaling=None, **kwargs):
        grouped = query.shape[1] != key.shape[1]
        product = torch.nn.functional.scaled_dot_product_attention
        return product(query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped).transpose(1, 2), None

    from transformers import AttentionInterface

    try:
        AttentionInterface.register(packing.ATTENTION, together)
        found = proved("llama")
    finally:
        AttentionInterface.register(packing.ATTENTION, packing.packed_attention)
    assert ways(found)[0][:2] == ("single", "own")
    assert found["failed"]["packed / packed / matrix"].startswith("packed, by")


def test_what_a_family_hands_to_its_attention_and_is_not_known_is_no_packed_row():
    """MiniMax M3's choice of blocks: with fewer tokens than it keeps, all blocks are chosen, and nothing would show."""
    found = proved("minimax_m3_vl_text")
    assert ways(found) == [("single", "own", "matrix", None)]
    assert found["failed"]["packed / packed / matrix"].startswith("ValueError: packed attention has no block_indices")


def test_random_numbers_that_are_not_drawn_again_are_found(monkeypatch):
    """seed_oss has dropout of its own at its defaults."""
    assert proved("seed_oss")["sizes"]["checkpointing"] < 1e-3
    monkeypatch.setattr(proof_module, "draws_randomly", lambda model: False)
    with pytest.raises(UserError, match="checkpointing, by"):
        proved("seed_oss")


def test_nothing_that_holds_is_one_line_that_says_what_fails(monkeypatch):
    real = proof_module.token_losses
    monkeypatch.setattr(proof_module, "token_losses", lambda *args, **kwargs: 1.01 * real(*args, **kwargs))
    line = (
        r"model: llama is not measured, since its losses here would not be its own "
        r"\(own, by 0\.\d+, with single / own / own\): an example alone has the losses of the model's own forward "
        r"pass; use a model of another family"
    )
    with pytest.raises(UserError) as refusal:
        proved("llama")
    assert re.fullmatch(line, str(refusal.value))


@pytest.fixture
def no_tolerance(monkeypatch):
    """Let nothing pass but what the last bits of a model's own weights move."""
    monkeypatch.setattr(own_pass, "TOLERANCE", 0)
    monkeypatch.setattr(own_pass, "GRADIENT_TOLERANCE", 0)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "opt"])
def test_what_a_model_s_own_last_bits_move_is_no_fault(no_tolerance, family):
    """A rounding that turns one of many ReLUs on or off moves a wide model's gradients by more than the sums do."""
    assert ways(proved(family))[0][:2] == ("packed", "packed")


def test_a_leak_is_more_than_a_model_s_last_bits(no_tolerance):
    assert ways(proved("lfm2"))[0][:2] == ("single", "own")


def test_a_fault_that_last_bits_do_not_explain_is_one_however_small(no_tolerance, monkeypatch):
    real = proof_module.token_losses
    monkeypatch.setattr(proof_module, "token_losses", lambda *args, **kwargs: real(*args, **kwargs) + 1e-3)
    with pytest.raises(UserError, match=r"own, by 0\.001"):
        proved("llama")


def test_weights_that_tell_nothing_prove_nothing(monkeypatch):
    monkeypatch.setattr(shape, "_fill", lambda weight, block, spread: weight.zero_())
    with pytest.raises(UserError, match="llama cannot be proved: its shape with random weights shows nothing"):
        proved("llama")


def test_a_reach_that_packed_rows_do_not_have_bounds_them():
    """Llama 4's chunks are in its mask alone: a packed row holds for examples that are no longer than a chunk."""
    found = proved("llama4_text", attn_temperature_tuning=False)
    assert ways(found) == [("packed", "packed", "own", 64), ("single", "own", "own", None)]
    assert method_for(found, 64).way == Execution("packed", "packed", "own", 64)
    assert method_for(found, 65).way == OWN


def test_a_reach_that_is_counted_along_the_row_leaves_no_packed_row():
    """Llama 4's temperature counts a row's tokens, whatever their positions: no length of an example bounds that."""
    assert ways(proved("llama4_text")) == [("single", "own", "own", None)]


_DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}


def test_what_a_row_s_longest_example_decides_bounds_packed_rows():
    """Phi-3's frequencies are those of long rows for all of a row: short examples in it were off by nats a token."""
    found = ways(proved("phi3:longrope"))
    assert found == [("packed", "packed", "matrix", 64), ("single", "own", "matrix", None)]


def test_examples_beyond_what_any_way_holds_for_are_one_line():
    """Dynamic frequencies stay those of the longest row so far: the model's own losses depend on what came before."""
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    found = proved("llama", max_position_embeddings=64, rope_parameters=rope)
    assert ways(found) == [("packed", "packed", "matrix", 64)]
    assert method_for(found, 64).way == Execution("packed", "packed", "matrix", 64)
    with pytest.raises(UserError, match=r"data.max_length: takes at most 64 for this model, got examples of 65 tokens"):
        method_for(found, 65)


def test_a_shape_that_fails_with_a_short_reach_is_proved_one_example_a_row(monkeypatch):
    real = prove.prove

    def failing(model, *rest):
        if model.config.sliding_window == reach.SHORT:
            raise IndexError("index out of range in self")
        return real(model, *rest)

    monkeypatch.setattr(prove, "prove", failing)
    assert ways(proved("mistral:window")) == [("single", "own", "matrix", None)]


@pytest.mark.parametrize(
    ("family", "changes"), [("gpt2", {"max_position_embeddings": 24}), ("opt", {"max_position_embeddings": 40})]
)
def test_a_model_with_few_positions_is_proved_with_examples_that_fit(family, changes):
    assert ways(proved(family, **changes))[0] == ("packed", "packed", "matrix", None)


def test_a_model_with_next_to_no_positions_is_one_line():
    with pytest.raises(UserError, match=r"gpt2 cannot be proved: it has 8 positions, and .* use a model with more$"):
        proved("gpt2", max_position_embeddings=8)


def test_a_configuration_that_makes_no_model_is_one_line():
    """Its class raises what it likes: here an AttributeError, since the attention's part names no rope_theta."""
    with pytest.raises(UserError, match=r"^model: transformers cannot build dbrx as a .*: AttributeError: .*takes$"):
        prove.proof_of(AutoConfig.for_model("dbrx", n_layers=2), CPU)


def test_a_head_under_the_name_of_a_decoder_is_no_decoder():
    """ModernBERT's: without it the model would have no linear layer, and its losses no matrix."""
    found = proved("modernbert-decoder")
    assert ways(found)[0][2] == "own"
    assert found["left_out"] == []


@pytest.mark.parametrize("family", ["gemma", "gemma2", "gemma3_text", "gemma3n_text", "gemma4_text"])
def test_a_factor_of_the_embeddings_is_not_rounded_to_16_bits(family):
    """Gemma's factor is the root of its width, which 16 bits hold where the width is a power of four, and else not."""
    assert max(proved(family, hidden_size=72)["sizes"].values()) < 1e-5


def test_a_cap_that_ordinary_logits_do_not_meet_is_met():
    """A matrix alone would be off by less than rounding where the cap is a hundred times as high as made-up logits."""
    assert ways(proved("gemma3_text", final_logit_softcapping=1000.0))[0][2] == "own"


def test_each_layer_is_called_once_to_see_which_is_read_directly():
    """To call a model once for each of its layers took most of a proof's time."""
    model = AutoModelForCausalLM.from_config(config_of("llama"))
    calls = []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    assert proof_material.read_directly(model.requires_grad_(False), proof_material.made_up(64, set())[0]) == []
    assert len(calls) == 2


def test_a_head_that_caps_its_logits_is_known_in_a_composite_model():
    text = configuration("gemma4_text") | {"final_logit_softcapping": 3.0}
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model("gemma4", text_config=text, vision_config=vision, audio_config=None)
    assert ways(prove.proof_of(config, CPU))[0][2] == "own"


@pytest.mark.parametrize("family", ["gpt2", "jamba", "gemma3n_text"])
def test_stored_in_16_bits_and_computed_in_32_it_trains(family):
    """gpt2's layers are no nn.Linear; jamba and gemma3n read weights without calling their layers."""
    found = proved(family)
    assert found["sizes"]["gradients"] < 1e-3


def test_a_study_of_a_model_with_a_state_is_that_of_its_own_forward_pass(new_study, tmp_path):
    """Through the workflow: rows ok, the same at any evaluation batch, and transformers' own perplexity."""
    model = tiny.write_model(tmp_path / "model", **{"vocab_size": 300} | FAMILIES["lfm2"] | {"model_type": "lfm2"})
    study = new_study(model={"source": "path", "path": str(model)}, precisions=["fp16"], ranks=[2], steps=2)
    study.run(
        "resources/proof.json", "results/baselines/fp16/evaluation.json", "results/runs/fp16-r2-s0/evaluation.json"
    )
    record = records.read_json(study.folder / "results/runs/fp16-r2-s0/training.json")
    assert record["outcome"]["proof"]["way"] == {"rows": "single", "attention": "own", "head": "matrix"}
    baseline = study.folder / "results/baselines/fp16/evaluation.json"
    before = records.read_json(baseline)["outcome"]["perplexity"]
    assert before == pytest.approx(own_perplexity(study, model), rel=1e-5)
    study.configure(evaluation={"batch_size": 1})
    study.run(str(baseline.relative_to(study.folder)))
    assert records.read_json(baseline)["outcome"]["perplexity"] == pytest.approx(before, rel=1e-9)


def own_perplexity(study, folder) -> float:
    """Perplexity of the validation tokens by transformers alone."""
    import pandas as pd

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16).float().eval()
    losses = []
    for example in pd.read_parquet(study.folder / "resources/tokens/validation.parquet").to_dict("records"):
        ids, labels = (torch.tensor(list(example[name]))[None] for name in ("input_ids", "labels"))
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
        kept = labels[0, 1:] != -100
        losses.append(torch.nn.functional.cross_entropy(logits[kept], labels[0, 1:][kept], reduction="none"))
    return float(torch.cat(losses).double().mean().exp())


def test_a_proof_of_other_versions_is_made_again_by_the_run_and_by_no_rule(finished_study, tmp_path):
    """An upgraded package reruns nothing that is finished; a training that starts under it is proved again first."""
    study = Study(shutil.copytree(finished_study.folder, tmp_path / "study", symlinks=True))
    path = study.folder / "resources/proof.json"
    proof, status = records.read_json(path), path.stat()
    records.write_json(path, proof | {"versions": proof["versions"] | {"torch": "1.0"}})
    # A proof of an earlier release is no newer than what stands on it.
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert study.plan() == {}
    study.run("results/runs/nf4-r3-s0/training.json")
    record = records.read_json(study.folder / "results/runs/nf4-r3-s0/training.json")
    assert record["outcome"]["proof"]["versions"] == proof["versions"]
    assert records.read_json(path)["versions"]["torch"] == "1.0"
