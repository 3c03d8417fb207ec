"""What a model is: what its configuration says and its weights are, or one line where the two do not agree."""

import json

import pytest
import tiny
import torch
import transformers
from doors import CPU, UP, edit_config, edit_weights, fetch, refusal
from frontier.errors import UserError
from frontier.model import bases
from safetensors.torch import load_file

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ([1, 2], "config.json holds no object of names and values"),
        ({"hidden_size": 32}, "config.json names no model_type, so nothing says what the weights are"),
        ({"model_type": "gpt7"}, f"transformers {transformers.__version__} has no model_type gpt7"),
        (
            {"model_type": "chatglm", "auto_map": {"AutoConfig": "configuration_chatglm.ChatGLMConfig"}},
            f"transformers {transformers.__version__} has no model_type chatglm but with code of its own",
        ),
        ({"model_type": "t5"}, "is an encoder and a decoder (t5); give a causal language model"),
        ({"model_type": "bart"}, "is an encoder and a decoder (bart); give a causal language model"),
        ({"model_type": "bert"}, "is an encoder (bert, is_decoder false); give a causal language model"),
        ({"model_type": "roberta"}, "is an encoder (roberta, is_decoder false); give a causal language model"),
        ({"model_type": "vit"}, "is a vit, which is no causal language model to transformers"),
        (
            tiny.CONFIG | {"hidden_size": "wide"},
            "transformers refuses its config.json: Validation error for field 'hidden_size': TypeError: ",
        ),
        (
            tiny.CONFIG | {"num_attention_heads": 5, "head_dim": None},
            "transformers refuses its config.json: Class validation error for validator 'validate_architecture': Val",
        ),
        (tiny.CONFIG | {"hidden_act": "snake"}, f"cannot be loaded: transformers {transformers.__version__} has no h"),
        (
            tiny.CONFIG | {"rope_scaling": {"type": "su", "factor": 2.0}},
            f"cannot be loaded: transformers {transformers.__version__} has no type su",
        ),
        (
            tiny.CONFIG | {"attn_implementation": "flash_attention_2"},
            "config.json asks for flash_attention_2 (attn_implementation), and attention is chosen here; take the key",
        ),
        (
            tiny.CONFIG | {"architectures": "LlamaForSequenceClassification"},
            "is a LlamaForSequenceClassification, which predicts no next token",
        ),
    ],
)
def test_a_configuration_of_no_causal_language_model_is_refused(folder, content, line):
    (folder / "config.json").write_text(json.dumps(content))
    assert refusal(folder).startswith(line)


@pytest.mark.parametrize("head", ["LlamaForSequenceClassification", "LlamaForTokenClassification"])
def test_a_classifier_is_refused(folder, head):
    assert refusal(edit_config(folder, architectures=[head])).startswith(f"is a {head}, which predicts no next token")


def test_code_of_its_own_that_transformers_has_too_is_said_not_to_run(folder):
    edit_config(folder, auto_map={"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"})
    line = f"{folder}: code of its own (auto_map) is not run; it is loaded as transformers' llama"
    assert fetch(folder)["warnings"] == [line]


def test_a_class_other_than_the_model_types_is_said(folder):
    """transformers goes by the type, whatever class the weights were saved from."""
    edit_config(folder, architectures=["MistralForCausalLM"])
    assert fetch(folder)["warnings"] == [
        f"{folder}: config.json names MistralForCausalLM (architectures) and model_type llama, by which it is loaded, "
        "as LlamaForCausalLM"
    ]


def without_prefix(weights: dict) -> None:
    weights.update({key.removeprefix("model."): weights.pop(key) for key in list(weights)})


def under_the_heads_name(weights: dict) -> None:
    weights["lm_head.weight"] = weights.pop("model.embed_tokens.weight")


@pytest.mark.parametrize(
    ("change", "settings"),
    [
        (without_prefix, {"architectures": ["LlamaModel"]}),
        (under_the_heads_name, {}),
        (lambda weights: None, {"dtype": "float8_e4m3fn"}),
        (lambda weights: None, {"architectures": None, "pretraining_tp": 2, "quantization": {"bits": 4}}),
    ],
)
def test_weights_under_names_and_settings_that_mean_the_same_are_the_same_model(tiny_model, folder, change, settings):
    """As a model without its head is saved, or one whose head and embeddings are one tensor."""
    edit_config(edit_weights(folder, change), **settings)
    record = fetch(folder)
    assert record["warnings"] == []
    loaded = bases.load(bases.convert(record, "fp32", CPU), CPU).state_dict()
    for key, weight in load_file(tiny_model / "model.safetensors").items():
        assert torch.equal(loaded[key], weight)


def test_a_weight_that_no_file_has_is_refused(folder):
    edit_weights(folder, lambda weights: [weights.pop(key) for key in list(weights) if "up_proj" in key])
    assert refusal(folder) == (f"no file has {UP} and 1 more, which transformers would draw at random")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model."])
def test_weights_under_a_wrappers_names_are_refused(folder, prefix):
    """As torch's wrappers and PEFT's leave them: transformers would draw the whole model at random."""

    def change(weights):
        renamed = {prefix + key: weight for key, weight in weights.items()}
        weights.clear()
        weights.update(renamed)

    line = refusal(edit_weights(folder, change))
    assert line.startswith("no file has ")
    assert line.endswith(f"; they have {prefix}model.embed_tokens.weight and 19 more instead")


def test_a_layer_more_or_fewer_than_the_configuration_has_is_refused(folder):
    edit_config(folder, num_hidden_layers=3)
    assert refusal(folder).startswith("no file has model.layers.2.input_layernorm.weight and 8 more")
    edit_config(folder, num_hidden_layers=1)
    assert refusal(folder).startswith("its files have model.layers.1.input_layernorm.weight and 8 more, for which the")


def test_a_shape_other_than_the_configurations_is_refused(folder):
    edit_config(folder, intermediate_size=48)
    assert refusal(folder) == (
        "config.json gives another shape than model.layers.0.mlp.down_proj.weight and 5 more in its files: "
        "(32, 64) for (32, 48)"
    )


@pytest.mark.parametrize("name", ["model.layers.0.self_attn.q_proj.bias", "model.layers.1.self_attn.q_norm.weight"])
def test_a_weight_that_the_model_should_have_had_is_refused(folder, name):
    edit_weights(folder, lambda weights: weights.update({name: torch.ones(32)}))
    assert refusal(folder) == f"its files have {name}, for which the model of its config.json has no place"


def test_a_weight_of_another_business_is_counted_and_said(folder):
    names = ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.0.self_attn.masked_bias"]
    edit_weights(folder, lambda weights: weights.update({name: torch.ones(4) for name in names}))
    assert fetch(folder)["opened"]["unused"] == 0
    edit_weights(folder, lambda weights: weights.update({"v_head.summary.weight": torch.ones(1, 32)}))
    record = fetch(folder)
    assert record["opened"]["unused"] == 1
    assert record["warnings"] == [
        f"{folder}: v_head.summary.weight of its files belong to no causal language model and are not read"
    ]


def test_a_head_that_is_tied_and_there_is_the_files_own(folder):
    """And one that is neither tied nor there is refused, which transformers would draw at random."""
    head = torch.randn(300, 32, generator=torch.Generator().manual_seed(1))
    edit_weights(folder, lambda weights: weights.update({"lm_head.weight": head}))
    for precision in ("fp32", "nf4"):
        model = bases.load(bases.convert(fetch(folder), precision, CPU), CPU)
        assert torch.equal(model.lm_head.weight.float(), head if precision == "fp32" else head.half().float())
        assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    edit_weights(folder, lambda weights: weights.pop("lm_head.weight"))
    edit_config(folder, tie_word_embeddings=False)
    assert refusal(folder) == "no file has lm_head.weight, which transformers would draw at random"


@pytest.mark.parametrize("precision", ["fp16", "nf4", "fp4"])
def test_a_weight_that_float16_cannot_hold_is_refused_at_that_precision(folder, precision):
    """bfloat16's largest number is 3e38: cast, it is an infinity, and every loss after it NaN."""

    def change(weights):
        weights[UP] = weights[UP].bfloat16()
        weights[UP][3, 5] = 1e6

    record = fetch(edit_weights(folder, change))
    assert bases.load(bases.convert(record, "bf16", CPU), CPU).model.layers[0].mlp.up_proj.weight[3, 5] == 999424
    with pytest.raises(UserError, match=rf"^model: .*: {UP} is not finite at {precision}: its files hold NaN, an inf"):
        bases.load(bases.convert(record, precision, CPU), CPU)


def test_a_weight_that_is_no_number_is_refused_at_any_precision(folder):
    record = fetch(edit_weights(folder, lambda weights: weights["model.norm.weight"].fill_(float("nan"))))
    for precision in ("fp32", "nf4"):
        with pytest.raises(UserError, match=rf"^model: .*: model\.norm\.weight is not finite at {precision}: "):
            bases.load(bases.convert(record, precision, CPU), CPU)
