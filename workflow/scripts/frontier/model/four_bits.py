"""Tell how much of a base is in 4 bits: bitsandbytes quantises linear layers, and not all of a model is in those.

The experts of a mixture are tensors of three dimensions in many models, which it leaves in 16 bits.
"""

from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM

from frontier.model.files import weight_files

# What bitsandbytes writes beside a weight that it has quantised, before the name of the type.
_STATE = ".quant_state.bitsandbytes__"
# Elements of a weight in each of its packed bytes.
_PACKED = 2


def four_bit_share(quantised: Path, dense: Path) -> float:
    """Return the share of a model's parameters that the files of its base in the folder `quantised` have in 4 bits.

    Counted are the elements that the model of the folder `dense` has, but for those of its embeddings and of its head:
    NF4 and FP4 leave these as they are in every model, and in a small one they outweigh all layers.
    """
    sizes: dict[str, int] = {}
    for path in weight_files(quantised):
        with safe_open(path, "pt") as file:
            names = file.keys()
            sizes |= {name: torch.Size(file.get_slice(name).get_shape()).numel() for name in names}
    # A weight and its state may be in different files.
    in_4_bits = {name.partition(_STATE)[0] for name in sizes if _STATE in name}
    packed = sum(_PACKED * sizes[name] for name in in_4_bits)
    return min(1.0, packed / _elements_of_layers(dense))


def _elements_of_layers(folder: Path) -> int:
    """Return how many parameters a model has beside its embeddings and its head, tied ones counted once."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    outside = [module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    if head := model.get_output_embeddings():
        outside += head.parameters()
    left_out = {id(weight) for weight in outside}
    return sum(weight.numel() for weight in model.parameters() if id(weight) not in left_out)
