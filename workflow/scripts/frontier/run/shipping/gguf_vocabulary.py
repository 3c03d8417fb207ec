"""A tokenizer as a GGUF file has it, found by trial: it must make the tokens that the model's own makes."""

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from gguf import GGUFWriter, TokenType

from frontier.errors import UserError
from frontier.run.shipping import llama_cpp
from frontier.run.shipping.room import Unsuited

# Ways in which llama.cpp cuts text before it merges bytes, by its names: those of the families that are written here
# first, then others that models of these families have been given.
_CUTS = (
    "gpt-2", "smollm", "llama-bpe", "qwen2", "tekken", "smaug-bpe", "llama3", "starcoder", "falcon", "deepseek-llm",
    "refact", "command-r", "dbrx", "default",
)  # fmt: skip
# Texts whose tokens tell these apart: words, figures, signs, blanks, other scripts, control tokens aside.
PROBES = (
    "Question: 12 + 3 = 15? It's 1234567.89 dollars, isn't it?\nAnswer: We'll see.\n\n",
    "  two blanks,\ttab\r\nand   three; don't CAN'T they'RE x2y 3rd 007\n\n\n   end  ",
    "for (int i=0; i<10; ++i) { a[i] += 0x1F; } // ok!!! ... --- ___ <br/> #### 42",
    "Ünïcödé naïve Straße 東京 に 123 Привет, мир! مرحبا 😀👍🏽 ½ ²",
    "A",
    " leading",
)


class Vocabulary(NamedTuple):
    """What a GGUF file says of a tokenizer: values by GGUF's keys, in the forms that its writer takes."""

    model: str
    cut: str
    tokens: list[str]
    kinds: list[int]
    scores: list[float] | None
    merges: list[str] | None
    settings: dict[str, Any]

    def write(self, writer: GGUFWriter) -> None:
        """Add it to a file that is being written."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.cut)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.kinds)
        if self.scores is not None:
            writer.add_token_scores(self.scores)
        if self.merges is not None:
            writer.add_token_merges(self.merges)
        for key, value in self.settings.items():
            if isinstance(value, bool):
                writer.add_bool(key, value)
            elif isinstance(value, int):
                writer.add_uint32(key, value)
            else:
                writer.add_string(key, value)


def vocabulary_of(tokenizer, size: int) -> Vocabulary:
    """Return the vocabulary of a model of so many tokens whose file makes the tokens that transformers' tokenizer does.

    Raises Unsuited where no form that is tried does, or where the tokenizer is none of merged pairs.
    """
    wanted = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in PROBES]
    for vocabulary in _candidates(tokenizer, size):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vocabulary.gguf"
            writer = GGUFWriter(path, "llama")
            vocabulary.write(writer)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.close()
            try:
                found = llama_cpp.tokenize_by(path, PROBES)
            except UserError:
                # A cut that this build of llama.cpp does not know.
                continue
        if found == wanted:
            return vocabulary
    raise Unsuited(
        "shipping: no tokenizer of llama.cpp that is tried makes the tokens that this model's makes, so no GGUF file "
        "is written; ship the adapter or the merged model"
    )


def _candidates(tokenizer, size: int):
    """Yield the forms to try, likely ones first."""
    held: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str()) if tokenizer.is_fast else {}
    model = held.get("model", {"type": "other"})
    if model["type"] != "BPE":
        raise Unsuited(f"shipping: a tokenizer of type {model['type']} is not written to a GGUF file")
    tokens, kinds = _tokens(tokenizer, held["added_tokens"], model, size)
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    settings = _settings(tokenizer)
    if not model.get("byte_fallback"):
        for cut in _CUTS:
            yield Vocabulary("gpt2", cut, tokens, kinds, None, pairs, settings)
        return
    scores = _scores(tokens, kinds, model["merges"])
    for prefix in (True, False):
        yield Vocabulary(
            "llama", "default", tokens, kinds, scores, None, settings | {"tokenizer.ggml.add_space_prefix": prefix}
        )


def _tokens(tokenizer, added: list[dict], model: dict, size: int) -> tuple[list[str], list[int]]:
    """Return each token's text and GGUF's kind of it; a row of the embeddings without token is an unused one."""
    named = {number: token for token, number in model["vocab"].items()}
    named |= {token["id"]: token["content"] for token in added}
    if max(named) >= size:
        raise Unsuited(f"shipping: its tokenizer has tokens beyond the model's {size}, which a GGUF file cannot have")
    special = {token["id"]: token["special"] for token in added}
    tokens, kinds = [], []
    for number in range(size):
        text = named.get(number)
        kind = TokenType.NORMAL
        if text is None:
            text, kind = f"[PAD{number}]", TokenType.UNUSED
        elif number in special:
            kind = TokenType.CONTROL if special[number] else TokenType.USER_DEFINED
        elif model.get("byte_fallback") and len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
            kind = TokenType.BYTE
        if number == tokenizer.unk_token_id and model.get("byte_fallback"):
            kind = TokenType.UNKNOWN
        tokens.append(text)
        kinds.append(int(kind))
    return tokens, kinds


def _scores(tokens: list[str], kinds: list[int], merges: list) -> list[float]:
    """Return scores by which sentencepiece merges pairs in the order of `merges`: the sooner, the higher."""
    places: dict[str, int] = {}
    for place, pair in enumerate(merges):
        left, right = pair.split(" ") if isinstance(pair, str) else pair
        places.setdefault(left + right, place)
    return [
        float(-places[text]) if text in places else -float(len(merges)) if kind == TokenType.NORMAL else 0.0
        for text, kind in zip(tokens, kinds, strict=True)
    ]


def _settings(tokenizer) -> dict[str, Any]:
    """Return the numbers of the tokens with a part to play, whether one begins each text, and the chat template."""
    roles = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "unknown": tokenizer.unk_token_id}
    roles["padding"] = tokenizer.pad_token_id
    found: dict[str, Any] = {
        f"tokenizer.ggml.{role}_token_id": number for role, number in roles.items() if number is not None
    }
    begins = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    found["tokenizer.ggml.add_bos_token"] = tokenizer.bos_token_id is not None and begins
    if isinstance(tokenizer.chat_template, str):
        found["tokenizer.chat_template"] = tokenizer.chat_template
    return found
