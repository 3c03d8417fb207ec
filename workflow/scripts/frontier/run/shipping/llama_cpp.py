"""Compute with a GGUF file through llama.cpp, as the package xllamacpp carries it: logits of given tokens, in rows.

The package's Python classes serve text; logits of given tokens come from the functions of `llama_library`.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from frontier.errors import UserError
from frontier.run.shipping.llama_library import context_settings, library, model_settings


class LlamaCpp:
    """A GGUF model, with an adapter's GGUF file on it where one is given, ready to compute logits of one row at a time.

    `exact` keeps the cache of keys and values in float32 and flash attention off; else both are llama.cpp's defaults.
    Raises UserError where llama.cpp does not load a file.
    """

    def __init__(self, path: Path, positions: int, threads: int, adapter: Path | None = None, exact: bool = False):
        self._library = library()
        self._adapter = ctypes.c_void_p()
        self._positions = positions
        self._model = self._library.llama_model_load_from_file(str(path).encode(), model_settings())
        if not self._model:
            raise UserError(f"{path.name}: llama.cpp does not load it")
        self._vocabulary = self._library.llama_model_get_vocab(self._model)
        self.tokens = self._library.llama_vocab_n_tokens(self._vocabulary)
        self._open_context(threads, exact)
        self._batch = self._library.llama_batch_init(positions, 0, 1)
        if adapter:
            self._put_on(adapter)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._library.llama_batch_free(self._batch)
        self._library.llama_free(self._context)
        self._library.llama_model_free(self._model)

    def logits(self, ids: Sequence[int], wanted: Sequence[int] | None = None) -> np.ndarray:
        """Return the logits behind the tokens of a row at the `wanted` places, or at each, (places, vocabulary)."""
        self._forget()
        return self._decode(ids, 0, range(len(ids)) if wanted is None else wanted)

    def greedy(self, prompt: Sequence[int], most: int, ends: Sequence[int]) -> list[int]:
        """Return the greedy continuation of a prompt: at most `most` tokens, with the one of `ends` that ended it."""
        self._forget()
        answer: list[int] = []
        last = self._decode(prompt, 0, [len(prompt) - 1])[0]
        while len(answer) < most and len(prompt) + len(answer) < self._positions:
            answer.append(int(last.argmax()))
            if answer[-1] in ends or len(answer) == most:
                break
            last = self._decode(answer[-1:], len(prompt) + len(answer) - 1, [0])[0]
        return answer

    def _open_context(self, threads: int, exact: bool) -> None:
        settings = context_settings(self._positions, threads, exact)
        self._context = self._library.llama_init_from_model(self._model, settings)
        if not self._context:
            raise UserError(f"llama.cpp has no room for {self._positions} positions of this model")

    def _put_on(self, adapter: Path) -> None:
        held = self._library.llama_adapter_lora_init(self._model, str(adapter).encode())
        if not held:
            raise UserError(f"{adapter.name}: llama.cpp does not load it over this model")
        self._adapter = ctypes.c_void_p(held)
        scale = ctypes.c_float(1)
        if self._library.llama_set_adapters_lora(self._context, ctypes.byref(self._adapter), 1, ctypes.byref(scale)):
            raise UserError(f"{adapter.name}: llama.cpp does not put it on this model")

    def _forget(self) -> None:
        self._library.llama_memory_clear(self._library.llama_get_memory(self._context), True)

    def _decode(self, ids: Sequence[int], start: int, wanted: Sequence[int]) -> np.ndarray:
        batch, places = self._batch, set(wanted)
        batch.n_tokens = len(ids)
        for place, token in enumerate(ids):
            batch.token[place], batch.pos[place] = token, start + place
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
            batch.logits[place] = place in places
        status = self._library.llama_decode(self._context, batch)
        if status:
            raise RuntimeError(f"llama_decode returned {status}")
        found = self._library.llama_get_logits(self._context)
        return np.ctypeslib.as_array(found, (len(places), self.tokens)).copy()


def tokenize_by(path: Path, texts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of texts by the tokenizer of a GGUF file, which may hold that alone."""
    model = library().llama_model_load_from_file(str(path).encode(), model_settings(tokenizer_alone=True))
    if not model:
        raise UserError(f"{path.name}: llama.cpp does not load its tokenizer")
    try:
        return [_tokenize(library().llama_model_get_vocab(model), text) for text in texts]
    finally:
        library().llama_model_free(model)


def _tokenize(vocabulary: int, text: str) -> list[int]:
    encoded = text.encode()
    found = (ctypes.c_int32 * (len(encoded) + 8))()
    count = library().llama_tokenize(vocabulary, encoded, len(encoded), found, len(found), False, True)
    return found[: max(count, 0)]
