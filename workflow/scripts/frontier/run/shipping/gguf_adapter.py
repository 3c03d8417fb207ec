"""Write an adapter as a GGUF file of its own, which llama.cpp puts over its base's."""

from pathlib import Path

import gguf
import numpy as np
from transformers import PretrainedConfig

from frontier.run.shipping import gguf_families
from frontier.run.shipping.adapter import Adapter
from frontier.run.shipping.room import Unsuited


def write_adapter(adapter: Adapter, config: PretrainedConfig, path: Path, name: str) -> None:
    """Write an adapter of a model of this config to a GGUF file, its matrices in float32 as they were trained.

    llama.cpp multiplies by alpha / rank, so that a rank-stabilised adapter is written with alpha x sqrt(rank); without
    an alpha the factor would be one, in silence. Raises Unsuited for a layer that llama.cpp's model has not.
    """
    family = gguf_families.family_of(config)
    names = gguf.get_tensor_name_map(family.architecture, config.num_hidden_layers)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[family.architecture])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_name(name)
    writer.add_float32("adapter.lora.alpha", adapter.factor * adapter.rank)
    for layer, (lora_a, lora_b) in adapter.pairs.items():
        place = names.get_name(layer)
        if place is None:
            raise Unsuited(f"shipping: {layer} has no place in llama.cpp's model of this family, so no file is written")
        rows = lora_b.numpy()
        if family.regroups and (heads := gguf_families.heads_of(layer, config)):
            rows = gguf_families.regrouped(rows, heads)
        writer.add_tensor(f"{place}.weight.lora_a", np.ascontiguousarray(lora_a.numpy()))
        writer.add_tensor(f"{place}.weight.lora_b", np.ascontiguousarray(rows))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
