"""Compute with a GGUF file through llama.cpp, as the package xllamacpp carries it: logits of given tokens, in rows.

The package's Python classes serve text. Logits of given tokens come from the functions of llama.h, which the package's
shared object exports. llama.h's structures change from build to build: the places of what is set here are those of the
pinned version, and each is checked to hold llama.h's default before it is written.
"""

import ctypes
import importlib.util
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from frontier.errors import UserError
from frontier.ways import LLAMA_CPP

HOW_TO_INSTALL = "pip install -c envs/constraints.txt -r envs/shipping.txt"
# ggml's number of float32, for the cache of keys and values; llama.h's default is float16.
_F32, _F16 = 0, 1
# llama.h's default of flash attention is to decide by itself (-1); 0 is off.
_FLASH, _NO_FLASH = -1, 0
# The place in bytes and the default of each setting that is written, all of them int32 or uint32.
_MODEL_LAYERS_ON_GPU = (16, -1)
_N_CTX, _N_BATCH, _N_UBATCH = (0, 512), (4, 2048), (8, 512)
_THREADS, _THREADS_OF_BATCH = (28, 4), (32, 4)
_FLASH_ATTENTION, _TYPE_K, _TYPE_V = (52, _FLASH), (104, _F16), (108, _F16)
# A byte of the model's settings: whether the tokenizer alone is read.
_VOCAB_ONLY = 72
# Bytes, more than any of llama.h's structures of settings has; what is beyond one is not read.
_ROOM = 1024


class _Settings(ctypes.Structure):
    """llama_model_params or llama_context_params, whose fields are written by their places."""

    _fields_ = (("bytes", ctypes.c_uint8 * _ROOM),)


class _Batch(ctypes.Structure):
    """llama_batch."""

    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.POINTER(ctypes.c_float)),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    )


_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


@_LOG
def _say_nothing(level, text, data):
    """Take llama.cpp's log, which would go to standard error line by line."""


def missing() -> list[str]:
    """Return which of the packages are not installed."""
    return [name for name in LLAMA_CPP if importlib.util.find_spec(name) is None]


class LlamaCpp:
    """A GGUF model, with an adapter's GGUF file on it where one is given, ready to compute logits of one row at a time.

    `exact` keeps the cache of keys and values in float32 and flash attention off; else both are llama.cpp's defaults.
    Raises UserError where llama.cpp does not load a file.
    """

    def __init__(
        self, path: Path, positions: int, threads: int, adapter: Path | None = None, exact: bool = False
    ):
        self._library = _library()
        self._context = self._adapter = None
        self._positions = positions
        settings = self._library.llama_model_default_params()
        _set(settings, _MODEL_LAYERS_ON_GPU, 0)
        self._model = self._library.llama_model_load_from_file(str(path).encode(), settings)
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
        settings = self._library.llama_context_default_params()
        for place in (_N_CTX, _N_BATCH, _N_UBATCH):
            _set(settings, place, self._positions)
        for place in (_THREADS, _THREADS_OF_BATCH):
            _set(settings, place, threads)
        for place, value in ((_FLASH_ATTENTION, _NO_FLASH), (_TYPE_K, _F32), (_TYPE_V, _F32)) if exact else ():
            _set(settings, place, value)
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
    library = _library()
    settings = library.llama_model_default_params()
    if settings.bytes[_VOCAB_ONLY]:
        raise _other_build()
    settings.bytes[_VOCAB_ONLY] = 1
    model = library.llama_model_load_from_file(str(path).encode(), settings)
    if not model:
        raise UserError(f"{path.name}: llama.cpp does not load its tokenizer")
    try:
        vocabulary = library.llama_model_get_vocab(model)
        return [_tokenize(library, vocabulary, text) for text in texts]
    finally:
        library.llama_model_free(model)


def _tokenize(library, vocabulary: int, text: str) -> list[int]:
    encoded = text.encode()
    found = (ctypes.c_int32 * (len(encoded) + 8))()
    count = library.llama_tokenize(vocabulary, encoded, len(encoded), found, len(found), False, True)
    return found[: max(count, 0)]


def _set(settings: _Settings, field: tuple[int, int], value: int) -> None:
    """Write a field of settings, which must hold its default before."""
    place, default = field
    if struct.unpack_from("<i", settings.bytes, place)[0] != default:
        raise _other_build()
    struct.pack_into("<i", settings.bytes, place, value)


def _other_build() -> UserError:
    return UserError(f"xllamacpp: this version has other settings than the pinned one; {HOW_TO_INSTALL}")


@cache
def _library():
    """Return the shared object of xllamacpp with llama.h's functions declared; UserError where there is none."""
    if absent := missing():
        raise UserError(f"GGUF takes {' and '.join(absent)}: {HOW_TO_INSTALL}")
    import xllamacpp

    (path,) = Path(xllamacpp.__file__).parent.glob("xllamacpp*.so")
    library = ctypes.CDLL(str(path))
    pointer, whole, flag = ctypes.c_void_p, ctypes.c_int32, ctypes.c_bool
    declared = {
        "llama_log_set": ([_LOG, pointer], None),
        "llama_model_default_params": ([], _Settings),
        "llama_context_default_params": ([], _Settings),
        "llama_model_load_from_file": ([ctypes.c_char_p, _Settings], pointer),
        "llama_model_get_vocab": ([pointer], pointer),
        "llama_model_free": ([pointer], None),
        "llama_vocab_n_tokens": ([pointer], whole),
        "llama_tokenize": ([pointer, ctypes.c_char_p, whole, ctypes.POINTER(whole), whole, flag, flag], whole),
        "llama_init_from_model": ([pointer, _Settings], pointer),
        "llama_free": ([pointer], None),
        "llama_get_memory": ([pointer], pointer),
        "llama_memory_clear": ([pointer, flag], None),
        "llama_batch_init": ([whole, whole, whole], _Batch),
        "llama_batch_free": ([_Batch], None),
        "llama_decode": ([pointer, _Batch], whole),
        "llama_get_logits": ([pointer], ctypes.POINTER(ctypes.c_float)),
        "llama_adapter_lora_init": ([pointer, ctypes.c_char_p], pointer),
        "llama_set_adapters_lora": ([pointer, pointer, ctypes.c_size_t, pointer], whole),
    }
    for name, (takes, gives) in declared.items():
        function = getattr(library, name)
        function.argtypes, function.restype = takes, gives
    library.llama_log_set(_say_nothing, None)
    return library
