"""Which type a quantisation of llama.cpp gives each tensor, and rows of numbers in that type.

The mixes are llama.cpp's own (`llama_tensor_get_type` of its src/llama-quant.cpp): K quantisations keep the head, and
of some layers the value and the down projection, in more bits. A row whose length a type's blocks do not divide takes
the next type that they do.
"""

import math

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType, quants

from frontier.ways import FLOAT_FILES

_T = GGMLQuantizationType
# What each quantisation of `ways` gives most tensors, and what it is called in a file's `general.file_type`.
MOSTLY = {
    "f32": (_T.F32, LlamaFileType.ALL_F32),
    "f16": (_T.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (_T.BF16, LlamaFileType.MOSTLY_BF16),
    "Q8_0": (_T.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "Q6_K": (_T.Q6_K, LlamaFileType.MOSTLY_Q6_K),
    "Q5_K_M": (_T.Q5_K, LlamaFileType.MOSTLY_Q5_K_M),
    "Q5_K_S": (_T.Q5_K, LlamaFileType.MOSTLY_Q5_K_S),
    "Q5_1": (_T.Q5_1, LlamaFileType.MOSTLY_Q5_1),
    "Q5_0": (_T.Q5_0, LlamaFileType.MOSTLY_Q5_0),
    "Q4_K_M": (_T.Q4_K, LlamaFileType.MOSTLY_Q4_K_M),
    "Q4_K_S": (_T.Q4_K, LlamaFileType.MOSTLY_Q4_K_S),
    "Q4_1": (_T.Q4_1, LlamaFileType.MOSTLY_Q4_1),
    "Q4_0": (_T.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
# What stands in for a type whose blocks of 256 do not divide a row; then what blocks of 32 do not divide.
_INSTEAD = {_T.Q4_K: _T.Q5_0, _T.Q5_K: _T.Q5_1, _T.Q6_K: _T.Q8_0}


def type_of(name: str, shape: tuple[int, ...], quantisation: str, layers: int, has_head: bool) -> GGMLQuantizationType:
    """Return the type of a GGUF tensor, (..., row) in numpy's order, of a model of so many layers.

    `has_head` is False where the embeddings are the head too.
    """
    mostly = MOSTLY[quantisation][0]
    if len(shape) == 1 or "_norm" in name or name.startswith("rope_"):
        return _T.F32
    if quantisation in FLOAT_FILES:
        return mostly
    return _fitting(_wanted(name, quantisation, mostly, layers, has_head), shape[-1])


def _wanted(name: str, quantisation: str, mostly, layers: int, has_head: bool):
    """Return the type of a tensor in llama.cpp's mix, whatever the length of its rows."""
    if name == "output.weight" or (name == "token_embd.weight" and not has_head):
        return mostly if mostly == _T.Q8_0 else _T.Q6_K
    part = name.split(".")[2] if name.startswith("blk.") else ""
    layer = int(name.split(".")[1]) if part else 0
    is_medium = quantisation.endswith("_K_M")
    if part in ("attn_v", "ffn_down") and is_medium and _gets_more(layer, layers):
        return _T.Q6_K
    if quantisation == "Q4_K_S" and ((part == "attn_v" and layer < 4) or (part == "ffn_down" and layer < layers // 8)):
        return _T.Q5_K
    if part == "attn_qkv" and is_medium:
        return {"Q4_K_M": _T.Q5_K, "Q5_K_M": _T.Q6_K}[quantisation]
    return mostly


def _gets_more(layer: int, layers: int) -> bool:
    """Return whether a layer is one of those that a medium mix keeps in more bits: first, last, and each third."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _fitting(wanted, row: int):
    for kind in (wanted, _INSTEAD.get(wanted, wanted), _T.F16):
        if row % GGML_QUANT_SIZES[kind][0] == 0:
            return kind
    raise AssertionError("a row of float16 has any length")


def packed(rows: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
    """Return rows of float32 as a file has them in a type: floating-point numbers, or bytes of blocks."""
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    if kind == _T.F32:
        return rows
    if kind == _T.F16:
        return rows.astype(np.float16)
    if kind == _T.BF16:
        return quants.quantize(rows, kind)
    import libgguf

    return libgguf.quantize_rows(rows, int(kind))


def bytes_of(shape: tuple[int, ...], kind: GGMLQuantizationType) -> int:
    """Return how many bytes a tensor takes in a type."""
    block, size = GGML_QUANT_SIZES[kind]
    return math.prod(shape) // block * size
