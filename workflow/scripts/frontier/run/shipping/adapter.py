"""A LoRA adapter in its folder, as PEFT writes it: its pairs of matrices and the factor of their products."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from frontier import records
from frontier.model.files import and_more
from frontier.run.shipping.room import Unsuited

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# How PEFT names a layer's matrices: the model's wrappers, the layer's name, the half of the pair.
_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class Adapter:
    """`pairs` has A (rank, in) and B (out, rank) in float32 by the layer's name; the update is factor x B A."""

    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]]
    rank: int
    alpha: float
    rslora: bool

    @property
    def factor(self) -> float:
        """The factor of the update: alpha / rank, or alpha / sqrt(rank) for a rank-stabilised adapter."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def update(self, layer: str) -> torch.Tensor:
        """Return what is added to a layer's weight, (out, in) in float32."""
        lora_a, lora_b = self.pairs[layer]
        return (lora_b @ lora_a).mul_(self.factor)


def read_adapter(folder: Path) -> Adapter:
    """Return the adapter of a folder; Unsuited where it holds more than pairs of LoRA, which merging would lose."""
    config = records.read_json(folder / CONFIG)
    tensors = load_file(folder / WEIGHTS)
    others = sorted(name for name in tensors if not (name.startswith(_PREFIX) and name.endswith((_A, _B))))
    if others or config.get("use_dora") or config.get("rank_pattern") or config.get("alpha_pattern"):
        what = and_more(others) if others else "more than plain LoRA"
        raise Unsuited(f"shipping: {folder} holds {what}; LoRA's pairs of matrices alone can be merged or converted")
    layers = sorted(name.removeprefix(_PREFIX).removesuffix(_A) for name in tensors if name.endswith(_A))
    pairs = {
        name: (tensors[f"{_PREFIX}{name}{_A}"].float(), tensors[f"{_PREFIX}{name}{_B}"].float()) for name in layers
    }
    return Adapter(pairs, config["r"], float(config["lora_alpha"]), bool(config.get("use_rslora")))
