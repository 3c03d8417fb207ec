"""The shape that a model is proved by: few layers, few tokens."""

from family_configs import config_of
from frontier.model import shape
from transformers import AutoConfig


def test_a_shape_has_one_layer_of_each_kind():
    assert shape.fewest_layers(config_of("llama", num_hidden_layers=40)) == 2
    mixed = config_of(
        "gemma3_text", num_hidden_layers=40, layer_types=["sliding_attention"] * 5 + ["full_attention"] * 35
    )
    assert shape.fewest_layers(mixed) == 6
    assert shape.shortened(mixed, 6).layer_types == mixed.layer_types[:6]


def test_a_shape_has_a_vocabulary_that_shows_enough_and_no_padding_beyond_it():
    config = AutoConfig.for_model("gemma3_text", vocab_size=262_208, pad_token_id=262_144, num_hidden_layers=2)
    small = shape.with_few_tokens(config)
    assert (small.vocab_size, small.pad_token_id) == (50_000, None)
    assert config.vocab_size == 262_208
    few = shape.with_few_tokens(AutoConfig.for_model("gemma3_text", vocab_size=500, pad_token_id=0))
    assert (few.vocab_size, few.pad_token_id) == (500, 0)
