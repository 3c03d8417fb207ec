"""The tokenizer of a model and its positions, at the door."""

import json

import pytest
import tiny
from doors import fetch, refusal, tokens
from frontier.errors import UserError
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_sentencepiece_file_alone_names_what_it_needs(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    line = refusal(folder)
    assert line.startswith(
        "its tokenizer is tokenizer.model alone, which takes sentencepiece and protobuf to read; where"
    )
    assert line.endswith("writes tokenizer.json")


def test_a_tokenizer_that_is_not_there_or_not_whole_is_refused(folder):
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    assert refusal(folder).startswith("its tokenizer cannot be loaded: ")
    (folder / "tokenizer.json").unlink()
    assert refusal(folder).startswith("its tokenizer cannot be loaded: ")


def test_a_tokenizer_with_code_of_its_own_is_refused_without_a_question(folder):
    config = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert refusal(folder).startswith("its tokenizer cannot be loaded: ")


def test_a_tokenizer_of_no_end_is_refused_at_fetch(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)
    assert refusal(folder).startswith("neither its tokenizer nor generation_config.json names an end-of-sequence")


def test_words_beyond_the_embeddings_are_refused(tmp_path):
    folder = tiny.write_model(tmp_path / "model", vocab_size=200)
    assert refusal(folder).startswith("its tokenizer has 257 tokens and the model 200: it lacks ")


def test_an_added_token_beyond_the_embeddings_is_said_and_refused_in_a_text(tmp_path):
    """It would be another token's embedding, or an index out of range."""
    folder = tiny.write_model(tmp_path / "model", vocab_size=257)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<image>"])
    tokenizer.save_pretrained(folder)
    line = f"{folder}: its tokenizer adds <image>, of which the model has no embedding; no example may hold them"
    assert fetch(folder)["warnings"] == [line]
    assert tokens(folder, "7")["train"]["examples"] == 1
    with pytest.raises(
        UserError, match=r"^model: its tokenizer has <image> as token 257, its weights have 257 embeddings; "
    ):
        tokens(folder, "the <image> has 7")
    tokenizer.eos_token = "<image>"
    tokenizer.save_pretrained(folder)
    assert refusal(folder) == "its tokenizer's end of sequence, <image>, is token 257, and the model has 257"


def edit_settings(folder, **changes) -> None:
    """Set keys of tokenizer_config.json."""
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_end_that_no_vocabulary_has_is_refused(folder):
    """transformers would make a new token of it, and training an end of one that the model never saw."""
    edit_settings(folder, eos_token="</never>")
    assert refusal(folder) == (
        "its tokenizer's end of sequence, </never>, is in no vocabulary of its files, so the model never saw it; name "
        "in tokenizer_config.json the one that it ends with"
    )
    token = {"content": "</never>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    edit_settings(folder, added_tokens_decoder={"257": token | {"special": True}})
    assert fetch(folder)["warnings"] == []


@pytest.mark.parametrize(
    ("named", "line"),
    [
        (-1, "generation_config.json: eos_token_id: got -1, takes a token's number from 0, or a list of such"),
        ([0, "2"], 'generation_config.json: eos_token_id: got "2", takes a token\'s number from 0, or a list of such'),
        (True, "generation_config.json: eos_token_id: got true, takes a token's number from 0, or a list of such"),
        (0.5, "generation_config.json: eos_token_id: got 0.5, takes a token's number from 0, or a list of such"),
        ([999], "the end that generation_config.json names is token 999, and the model has 300"),
    ],
)
def test_an_end_that_is_no_token_is_refused(folder, named, line):
    settings = dict.fromkeys(("eos_token", "pad_token"))
    edit_settings(folder, **settings)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": named}))
    assert refusal(folder) == line


def test_a_beginning_that_its_settings_name_and_its_tokenizer_does_not_put_is_said(folder):
    """transformers 5 goes by tokenizer.json; by the settings a model may have been trained with another prompt."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.bos_token = "<eos>"
    tokenizer.save_pretrained(folder)
    for said, warnings in ((False, 0), (None, 0), (True, 1)):
        edit_settings(folder, add_bos_token=said)
        assert len(fetch(folder)["warnings"]) == warnings
    assert fetch(folder)["warnings"][0].endswith(
        "puts no <eos> before a text, as tokenizer.json says; begin data.template with <eos> where the model was "
        "trained so"
    )
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.post_processor = processors.TemplateProcessing(single="<eos> $A", special_tokens=[("<eos>", 0)])
    made.save(str(folder / "tokenizer.json"))
    assert fetch(folder)["warnings"] == []
    edit_settings(folder, add_bos_token=False)
    assert fetch(folder)["warnings"][0].endswith("puts <eos> before a text, as tokenizer.json says")


TABLES = {
    "opt": {"max_position_embeddings": 128, "word_embed_proj_dim": 32, "ffn_dim": 64},
    "gpt2": {"max_position_embeddings": 128},
    "gpt_neo": {"max_position_embeddings": 128, "attention_types": [[["global", "local"], 1]]},
    "gptj": {"max_position_embeddings": 128, "rotary_dim": 8},
    "biogpt": {"max_position_embeddings": 128},
}


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_an_example_past_a_table_of_positions_is_refused(tmp_path, kind):
    folder = tiny.write_model(tmp_path / "model", model_type=kind, **TABLES[kind])
    opened = fetch(folder)["opened"]
    assert (opened["positions"], opened["is_table"]) == (128, True)
    assert tokens(folder, "7" * 100)["train"]["examples"] == 1
    with pytest.raises(UserError) as refused:
        tokens(folder, "7" * 391)
    assert str(refused.value) == (
        "data.max_length: takes at most 128, for which the model has a table of positions; got 394 tokens"
    )


def test_an_example_past_rotary_positions_is_said(tiny_model, folder, capsys):
    tokens(folder, "7" * 100)
    assert "warning" not in capsys.readouterr().out
    tokens(folder, "7" * 391)
    line = "warning: train: 394 tokens are more than the 256 positions that config.json names (max_position_embeddings)"
    assert line in capsys.readouterr().out.splitlines()
