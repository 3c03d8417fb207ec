"""The shared object of xllamacpp: llama.h's functions, which it exports, and its structures of settings.

llama.h's structures change from build to build: the places of what is set here are those of the pinned version, and
each is checked to hold llama.h's default before it is written.
"""

import ctypes
import importlib.util
import struct
from functools import cache
from pathlib import Path

from frontier.errors import UserError
from frontier.ways import LLAMA_CPP

# What to type where the packages are not there.
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


def model_settings(tokenizer_alone: bool = False) -> _Settings:
    """Return the settings with which a model is loaded: on the CPU, and whole unless `tokenizer_alone`."""
    settings = library().llama_model_default_params()
    _set(settings, _MODEL_LAYERS_ON_GPU, 0)
    if settings.bytes[_VOCAB_ONLY]:
        raise _other_build()
    settings.bytes[_VOCAB_ONLY] = tokenizer_alone
    return settings


def context_settings(positions: int, threads: int, exact: bool) -> _Settings:
    """Return the settings of a context of so many positions, each of which may be computed in one call.

    `exact` keeps the cache of keys and values in float32 and flash attention off; else both are llama.cpp's defaults.
    """
    settings = library().llama_context_default_params()
    written = dict.fromkeys((_N_CTX, _N_BATCH, _N_UBATCH), positions)
    written |= dict.fromkeys((_THREADS, _THREADS_OF_BATCH), threads)
    if exact:
        written |= {_FLASH_ATTENTION: _NO_FLASH, _TYPE_K: _F32, _TYPE_V: _F32}
    for place, value in written.items():
        _set(settings, place, value)
    return settings


def _set(settings: _Settings, field: tuple[int, int], value: int) -> None:
    """Write a field of settings, which must hold its default before."""
    place, default = field
    if struct.unpack_from("<i", settings.bytes, place)[0] != default:
        raise _other_build()
    struct.pack_into("<i", settings.bytes, place, value)


def _other_build() -> UserError:
    return UserError(f"xllamacpp: this version has other settings than the pinned one; {HOW_TO_INSTALL}")


@cache
def library():
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
