"""The card that a plan is for, which need not be there: the run's own code is given it in the place of a real one."""

import torch

from frontier.model import dtypes
from frontier.model.card import Card
from frontier.plan.step import stand_ins
from frontier.request_types import TrainingRequest


class EmulatedCard(Card):
    """A GPU of some CUDA compute capability, or a CPU, whose levers are the stand-ins for the meta device."""

    def __init__(self, cuda: bool, capability: tuple[int, int] = (8, 0)):
        super().__init__(torch.device("cuda", 0) if cuda else torch.device("cpu"))
        self.capability = capability

    @property
    def has_varlen(self) -> bool:
        return self.is_cuda and self.capability >= (8, 0)

    def fuse(self, model) -> bool:
        return self.is_cuda and stand_ins.fuse(model)

    def offload_embeddings(self, model) -> bool:
        return self.is_cuda and stand_ins.offload_embeddings(model)

    def empty_cache(self) -> None:
        """Do nothing: tensors on the meta device leave no memory."""

    @property
    def attention(self) -> str:
        """The name under which transformers has packed attention with the kernel that torch uses on this card."""
        return stand_ins.ATTENTION_ON_CARD if self.is_cuda else stand_ins.ATTENTION_ON_CPU

    @property
    def answering(self) -> str:
        """The name under which transformers has attention over a cache with the kernel that torch uses here."""
        return stand_ins.ANSWERING_ON_CARD if self.is_cuda else stand_ins.ANSWERING_ON_CPU

    def compute_dtype(self, request: TrainingRequest) -> torch.dtype:
        """Return the dtype of a run's matrix products on this card; raises UserError if the card does not have it."""
        return dtypes.compute_dtype(request["compute_dtype"], request["precision"], self.device, self.capability)
