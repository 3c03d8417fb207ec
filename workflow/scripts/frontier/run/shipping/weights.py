"""A model's weights from its safetensors files, one tensor at a time, dequantised where they are packed."""

import math
from contextlib import ExitStack
from pathlib import Path

import bitsandbytes as bnb
import torch
from safetensors import safe_open

from frontier.model.files import weight_files

# What bitsandbytes writes beside a weight, before the name of its type and after the weight's name.
_STATE = ".quant_state.bitsandbytes__"
_OF_4_BITS = (".absmax", ".nested_absmax", ".nested_quant_map", ".quant_map")
# The scale of each row of a weight of 8 bits, in the place of its last word, and the number that stands for the scale.
_SCALES, _LAYOUT, _LARGEST = "SCB", "weight_format", 127
_WEIGHT = ".weight"


class Weights:
    """The tensors of a model's folder by their names; those that only describe a packed one are left out.

    It keeps the files open while the block that it heads runs.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._stack = ExitStack()
        self._files: dict = {}

    def __enter__(self):
        for path in weight_files(self.folder):
            file = self._stack.enter_context(safe_open(path, "pt"))
            self._files |= dict.fromkeys(file.keys(), file)
        states = {name.partition(_STATE)[0]: name for name in self._files if _STATE in name}
        self._states = states
        beside = {f"{name}{ending}" for name in states for ending in _OF_4_BITS} | set(states.values())
        beside |= {name for name in self._files if name.endswith((f".{_SCALES}", f".{_LAYOUT}"))}
        self.names = [name for name in self._files if name not in beside]
        return self

    def __exit__(self, *error):
        self._stack.close()

    def elements(self, name: str) -> int:
        """Return how many numbers a tensor has, without reading it."""
        held = math.prod(self._files[name].get_slice(name).get_shape())
        return 2 * held if name in self._states else held

    def read(self, name: str) -> torch.Tensor:
        """Return a tensor in float32, as the base computes with it."""
        tensor = self._files[name].get_tensor(name)
        if name in self._states:
            described = {
                key.removeprefix(f"{name}."): self._files[key].get_tensor(key)
                for key in (*(f"{name}{ending}" for ending in _OF_4_BITS), self._states[name])
                if key in self._files
            }
            state = bnb.functional.QuantState.from_dict(described, device=tensor.device)
            # Evaluations have it dequantised in float32, too.
            state.dtype = torch.float32
            return bnb.functional.dequantize_4bit(tensor, state)
        scales = f"{name.removesuffix(_WEIGHT)}.{_SCALES}"
        if name.endswith(_WEIGHT) and scales in self._files:
            return tensor.float() * (self._files[scales].get_tensor(scales).float() / _LARGEST)[:, None]
        return tensor.float()
