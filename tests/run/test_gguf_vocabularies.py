"""Tokenizers as GGUF files have them: llama.cpp makes the same tokens, or there is no file."""

import pytest
from frontier.run.shipping import llama_library
from frontier.run.shipping.gguf_vocabulary import PROBES, vocabulary_of
from frontier.run.shipping.room import Unsuited
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

pytestmark = pytest.mark.skipif(bool(llama_library.missing()), reason=llama_library.HOW_TO_INSTALL)
SPECIAL = ["<unk>", "<s>", "</s>"]
# Words of several languages and signs, so that each way of cutting text has pairs to merge across its borders.
TEXTS = [*PROBES, "1234567 12 345 don't they're can't __init__ return x == y\n\n    if a:\n"] * 30


def wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    names = dict(zip(("unk_token", "bos_token", "eos_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def byte_level(cut) -> PreTrainedTokenizerFast:
    """A tokenizer over bytes, whose text is cut by `cut` before pairs are merged."""
    tokenizer = Tokenizer(models.BPE())
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=cut is None)
    tokenizer.pre_tokenizer = bytes_of if cut is None else pre_tokenizers.Sequence([*cut, bytes_of])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return wrapped(tokenizer)


def sentencepiece(prefix: bool) -> PreTrainedTokenizerFast:
    """A tokenizer as transformers makes it of sentencepiece's: pairs of characters, and bytes for those it has not."""
    characters = sorted({one for text in TEXTS for one in text if one.isascii() and one.isprintable()} - {" "})
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *characters]
    pairs = "h e,t he,▁ the,▁ t,▁t he,o n,a n,1 2,e r,▁ 1,on e"
    merges = [tuple(pair.split(" ")) for pair in pairs.split(",")]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys([*tokens, *(a + b for a, b in merges)]))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    begun = [normalizers.Prepend("▁")] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*begun, normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(SPECIAL)
    return wrapped(tokenizer)


LLAMA_3 = pre_tokenizers.Split(
    Regex(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "isolated",
)


@pytest.mark.parametrize(("cut", "name"), [(None, "gpt-2"), ([LLAMA_3], "llama-bpe")], ids=["gpt-2", "llama 3"])
def test_the_way_of_cutting_text_is_found_by_its_tokens(cut, name):
    assert vocabulary_of(byte_level(cut), 720).cut == name


@pytest.mark.parametrize("prefix", [True, False])
def test_a_tokenizer_of_sentencepiece_is_found_with_or_without_its_first_blank(prefix):
    found = vocabulary_of(sentencepiece(prefix), 400)
    assert found.model == "llama"
    assert found.settings["tokenizer.ggml.add_space_prefix"] is prefix
    assert len(found.tokens) == 400


def test_a_tokenizer_that_llama_cpp_cannot_make_is_one_line():
    tokenizer = byte_level([pre_tokenizers.Split("o", "isolated")])
    with pytest.raises(Unsuited, match=r"^shipping: no tokenizer of llama\.cpp that is tried makes the tokens"):
        vocabulary_of(tokenizer, 720)


def test_tokens_beyond_the_models_rows_are_one_line():
    with pytest.raises(Unsuited, match="tokens beyond the model's 100, which a GGUF file cannot have"):
        vocabulary_of(byte_level(None), 100)


def test_a_tokenizer_of_whole_words_is_one_line():
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    with pytest.raises(Unsuited, match="a tokenizer of type WordLevel is not written to a GGUF file"):
        vocabulary_of(PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>"), 10)
