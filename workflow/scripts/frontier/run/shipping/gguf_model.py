"""Write a model in transformers' files as a GGUF file, one tensor at a time, and say what a GGUF file holds."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
from transformers import AutoConfig, PretrainedConfig

from frontier.model.headers import read_tensors
from frontier.model.tokenizer import open_tokenizer
from frontier.run.shipping import gguf_families, gguf_rotary, gguf_types
from frontier.run.shipping.gguf_vocabulary import Vocabulary, vocabulary_of
from frontier.run.shipping.room import Unsuited, require_room
from frontier.run.shipping.weights import Weights

# The version of how blocks are packed, as llama.cpp counts it (GGML_QNT_VERSION).
_PACKING = 2


class Written(NamedTuple):
    """What a GGUF file really holds: how many tensors of each type, its bytes, and bits a weight over all tensors."""

    types: dict[str, int]
    size: int
    bits: float


class Source(NamedTuple):
    """A model to be written: its folder, its config, and its tokenizer as GGUF has it."""

    folder: Path
    config: PretrainedConfig
    vocabulary: Vocabulary


def open_source(folder: Path) -> Source:
    """Return a model that can be written; Unsuited where its family or its tokenizer cannot."""
    config = AutoConfig.from_pretrained(folder)
    gguf_families.family_of(config)
    return Source(folder, config, vocabulary_of(open_tokenizer(folder), config.vocab_size))


def write_model(source: Source, path: Path, quantisation: str, name: str) -> Written:
    """Write a model to a GGUF file in a quantisation, and return what the file holds; `name` is the model's.

    Raises Unsuited where a tensor has no place in llama.cpp's model, and UserError where the disk
    has no room.
    """
    config = source.config
    family = gguf_families.family_of(config)
    names = gguf.get_tensor_name_map(family.architecture, config.num_hidden_layers)
    held = {key: tensor.shape for key, tensor in read_tensors(source.folder, str(source.folder)).items()}
    has_head = "lm_head.weight" in held and not config.tie_word_embeddings
    places = {_place(names, key): key for key in held if key != "lm_head.weight" or has_head}
    factors = gguf_rotary.factors_of(config)
    shapes = {place: held[key] for place, key in places.items()} | {key: rows.shape for key, rows in factors.items()}
    kinds = {
        place: gguf_types.type_of(place, shape, quantisation, config.num_hidden_layers, has_head)
        for place, shape in shapes.items()
    }
    sizes = {place: gguf_types.bytes_of(shapes[place], kind) for place, kind in kinds.items()}
    require_room(path.parent, sum(sizes.values()), f"the GGUF file in {quantisation}")
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[family.architecture])
    _describe(writer, source, quantisation, name)
    for place, kind in kinds.items():
        # The shape is in elements, as the dtype is not that of bytes.
        writer.add_tensor_info(place, shapes[place], np.dtype(np.float32), sizes[place], raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    with Weights(source.folder) as weights:
        for place, key in places.items():
            rows = gguf_families.as_stored(key, weights.read(key).numpy(), config)
            writer.write_tensor_data(gguf_types.packed(rows, kinds[place]))
    for rows in factors.values():
        writer.write_tensor_data(rows)
    writer.close()
    return held_by(path)


def held_by(path: Path) -> Written:
    """Return what a GGUF file holds."""
    tensors = gguf.GGUFReader(path).tensors
    counts = Counter(tensor.tensor_type.name for tensor in tensors)
    numbers = sum(int(tensor.n_elements) for tensor in tensors)
    bits = 8 * sum(int(tensor.n_bytes) for tensor in tensors) / numbers
    return Written(dict(counts.most_common()), path.stat().st_size, bits)


def _place(names: gguf.TensorNameMap, key: str) -> str:
    """Return GGUF's name of a tensor; Unsuited where llama.cpp's model has no place for it."""
    found = names.get_name(key, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise Unsuited(f"shipping: {key} has no place in llama.cpp's model of this family, so no GGUF file is written")
    return found


def _describe(writer: gguf.GGUFWriter, source: Source, quantisation: str, name: str) -> None:
    """Add what a file says beside its tensors."""
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(gguf_types.MOSTLY[quantisation][1])
    if quantisation not in ("f32", "f16", "bf16"):
        writer.add_quantization_version(_PACKING)
    _add_settings(writer, gguf_families.settings_of(source.config))
    source.vocabulary.write(writer)


def _add_settings(writer: gguf.GGUFWriter, settings: dict[str, Any]) -> None:
    """Add a model's settings under its architecture's name, each as what its value is."""
    for key, value in settings.items():
        whole = f"{writer.arch}.{key}"
        if isinstance(value, str):
            writer.add_string(whole, value)
        elif isinstance(value, float):
            writer.add_float32(whole, value)
        else:
            writer.add_uint32(whole, value)
