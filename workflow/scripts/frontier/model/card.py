"""The device that a model is built for: which kernels it has, and the levers that it pulls."""

import torch

from frontier.model import levers, packing


class Card:
    """A device that is there, a GPU or the CPU.

    A plan builds models for a card of its own, which need not be there (`plan.step.emulated_card`).
    """

    def __init__(self, device: torch.device):
        self.device = device

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def has_varlen(self) -> bool:
        """Whether torch's variable-length attention runs here, without which no step is captured either."""
        return packing.has_varlen(self.device)

    def fuse(self, model) -> bool:
        """Give the model fused kernels; return whether it has them."""
        return self.is_cuda and levers.fuse(model)

    def offload_embeddings(self, model) -> bool:
        """Keep the model's input embeddings in the host's memory; return whether they are there."""
        return self.is_cuda and levers.offload_embeddings(model)

    def empty_cache(self) -> None:
        """Give memory that tensors have left back to the driver."""
        if self.is_cuda:
            torch.cuda.empty_cache()
