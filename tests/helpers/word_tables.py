"""Small tokenizers that behave as those of published models do, each in a way that changes an example's tokens."""

import string

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
CONTROLS = (UNKNOWN, BEGIN, END)
CHARACTERS = string.ascii_letters + string.digits + ".,:?!#+=-/$'()[]<>|_{}"


def byte_level(*merges: str, around: str = "$A", space: bool = False, **options) -> PreTrainedTokenizerFast:
    """Bytes and `merges` of two, as GPT-2's, Llama 3's and Qwen's.

    `around` says what it puts around a text ($A); `space` puts a space before each, as RoBERTa's has it.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*CONTROLS, *alphabet, *(merge.replace(" ", "") for merge in merges)]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    made = Tokenizer(models.BPE(vocabulary, merges=[tuple(merge.split(" ")) for merge in merges], **options))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    made.decoder = decoders.ByteLevel()
    return _wrapped(made, around)


def sentence_piece(scheme: str = "first", around: str = f"{BEGIN} $A") -> PreTrainedTokenizerFast:
    """Characters, with a space put before a text, as Llama 2's and Mistral's.

    `scheme` is `first` (before a text alone), `always` (behind each control token too), or `normalizer`, which is
    `always` as old files have it.
    """
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = dict.fromkeys([*CONTROLS, *bytes_, "▁", *CHARACTERS])
    vocabulary = {token: index for index, token in enumerate(tokens)}
    made = Tokenizer(models.BPE(vocabulary, [], unk_token=UNKNOWN, byte_fallback=True))
    if scheme == "normalizer":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(parts)
    return _wrapped(made, around)


def pieces(around: str = f"$A {END}") -> PreTrainedTokenizerFast:
    """A Unigram model that has its control tokens' names among its pieces, as T5's has."""
    scores = [
        (UNKNOWN, 0.0),
        (BEGIN, -1.0),
        (END, -1.0),
        ("▁", -2.0),
        ("\n", -2.0),
        *((one, -3.0) for one in CHARACTERS),
    ]
    made = Tokenizer(models.Unigram(scores, unk_id=0))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    made.decoder = decoders.Metaspace(prepend_scheme="first")
    return _wrapped(made, around)


def normalising(*steps) -> PreTrainedTokenizerFast:
    """Characters of a text that is normalised first."""
    vocabulary = {token: index for index, token in enumerate([*CONTROLS, " ", "\n", *CHARACTERS])}
    made = Tokenizer(models.BPE(vocabulary, [], unk_token=UNKNOWN))
    made.normalizer = normalizers.Sequence(list(steps))
    made.decoder = decoders.Fuse()
    return _wrapped(made, "$A")


def _wrapped(made: Tokenizer, around: str) -> PreTrainedTokenizerFast:
    ids = [(name, index) for index, name in enumerate(CONTROLS) if name in around]
    if ids:
        made.post_processor = processors.TemplateProcessing(single=around, special_tokens=ids)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=BEGIN, eos_token=END, unk_token=UNKNOWN)
