"""Which linear layers get adapters: all that can have one in the text decoder, or those that are named."""

import pytest
import torch
from families import configuration
from family_configs import config_of
from frontier.errors import UserError
from frontier.model import layers
from frontier.model.targets import adapted_layers, linear_layers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM


def test_adapters_are_put_on_the_text_decoder_alone():
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14}
    text = configuration("gemma3_text")
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision, mm_tokens_per_image=4)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    names, _ = adapted_layers(model, "all-linear")
    assert len(names) == 7 * text["num_hidden_layers"]
    assert not [name for name in names if "vision" in name or "projector" in name]


@pytest.fixture(scope="module")
def llama():
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config_of("llama"))


def test_targets_that_no_layer_has_are_one_line_with_those_there_are(llama):
    line = r"lora.targets: got v_porj, which no layer is called; there are down_proj, gate_proj, k_proj, .*, v_proj"
    with pytest.raises(UserError, match=line):
        adapted_layers(llama, ["q_proj", "v_porj"])
    assert len(adapted_layers(llama, ["q_proj", "1.mlp.down_proj"])[0]) == 3
    with pytest.raises(UserError, match="got lm_head"):
        adapted_layers(llama, ["lm_head"])


def test_what_cannot_be_adapted_is_left_out_of_all_and_refused_by_name():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of("mamba2"))
    names, left_out = adapted_layers(model, "all-linear")
    assert left_out == ["out_proj"]
    assert {name.rpartition(".")[2] for name in names} == {"in_proj"}
    with pytest.raises(UserError, match=r"got out_proj, which cannot have an adapter here: .*incompatible"):
        adapted_layers(model, ["out_proj"])


def test_a_linear_layer_that_does_more_keeps_its_own_forward_pass():
    class Scaled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    class Twice(nn.Linear):
        def forward(self, x):
            return super().forward(x), x

    class Same(nn.Linear):
        def forward(self, x):
            return x @ self.weight.T + (0 if self.bias is None else self.bias)

    assert [layers.is_plain(kind) for kind in (nn.Linear, Same, Scaled, Twice)] == [True, True, False, False]
    model = nn.Sequential(Scaled(8, 8, dtype=torch.float16)).requires_grad_(False)
    x = torch.randn(3, 8)
    layer = model[0]
    expected = 2 * torch.nn.functional.linear(x, layer.weight.float(), layer.bias.float())
    assert torch.allclose(layers.compute_in(model, torch.float32)(x), expected, atol=1e-5)
    with torch.device("meta"):
        llama4 = AutoModelForCausalLM.from_config(config_of("llama4_text"))
    assert adapted_layers(llama4, "all-linear")[1] == ["router"]
    assert any(name.endswith("router") for name in linear_layers(llama4))
