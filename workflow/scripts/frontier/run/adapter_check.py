"""Check at a training's end that it trained: each tensor of the adapter is finite, has had a gradient, and has moved.

A pair of LoRA starts with one half at zero (B), and the other half (A) has no gradient until the first has moved. So a
tensor may be as it was for a reason that the run itself gives, which is then counted. For any other the run ends.

What gradients there were is noted on the device as steps are taken, without waiting for it, and read between steps;
once every tensor has had a gradient no more is noted.
"""

import math
import re
from typing import NamedTuple

import torch
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from frontier.errors import UserError
from frontier.outcomes import Status, Stop
from frontier.run import sharding
from frontier.run.sharding import ALONE, Share

# An expert of a mixture, which has its own layers and meets the tokens alone that are sent to it.
_EXPERT = re.compile(r"\.\w*experts\.\d+\.")


class Noted(NamedTuple):
    """In how many of a process's steps each tensor had a gradient; steps with one that is not finite do not count."""

    # Steps with a gradient.
    seen: list[int]
    # Of these, steps at a rate above zero.
    pushed: list[int]
    # Of these, steps after one in which it was pushed, so that the other half of its pair has a gradient too.
    followed: list[int]


class Marks(NamedTuple):
    """What is kept of each tensor's values, so that no second copy of the adapter is."""

    # The sum of absolute values: 0 for zeros alone, and not finite where a value is not.
    sizes: list[float]
    # The sum of the values' 32 bits as whole numbers, the same on every device.
    bits: list[int]


def marks(tensors: list[torch.Tensor]) -> Marks:
    """Return the marks of tensors of one device, which are read as float32."""
    tensors = [tensor.detach().float() for tensor in tensors]
    sizes = torch.stack(torch._foreach_norm(tensors, 1))
    bits = torch.stack([tensor.view(torch.int32).sum(dtype=torch.int64) for tensor in tensors])
    return Marks(sizes.tolist(), bits.tolist())


class AdapterCheck(TrainerCallback):
    """A callback that notes which trainable tensors of `model` have had a gradient; `counts` is its result.

    It is made before the first step, and before a checkpoint is loaded: it keeps two numbers for each initial tensor.
    """

    def __init__(self, model, share: Share = ALONE):
        trainable = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.names, self.share = list(trainable), share
        self._start = marks([*trainable.values()])
        self._parameters: list[torch.nn.Parameter] = []
        self._noted = self._finite_steps = self._zero = torch.zeros(())
        self._is_settled = False

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        # Sharding has put other parameters in the place of those that there were.
        self._parameters = [weight for weight in model.parameters() if weight.requires_grad]
        device = self._parameters[0].device
        self._noted = torch.zeros(len(Noted._fields), len(self._parameters), dtype=torch.int32, device=device)
        self._finite_steps = torch.zeros((), dtype=torch.int32, device=device)
        self._zero = torch.zeros((), device=device)

    @torch.no_grad()
    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        if self._is_settled:
            return
        is_finite, found = self._gradients()
        seen, pushed, followed = self._noted
        seen += found
        followed += found & (pushed > 0)
        if any(group["lr"] > 0 for group in optimizer.param_groups):
            pushed += found
        self._finite_steps += is_finite

    def on_step_end(self, args, state, control, **kwargs):
        # The clock, which comes first, has waited for the device already.
        if not self._is_settled:
            self._is_settled = bool(self._noted[:2].all())

    def counts(self, weights: list[torch.Tensor]) -> dict:
        """Return what a record says of the trained `weights`, whole tensors in the order of `names`.

        Raises Stop, diverged, where one is not finite or no step had finite gradients; UserError for a tensor that has
        not trained while nothing explains it. Every process of a training must call this.
        """
        start, end = self._start, marks(weights)
        lost = [name for name, size in zip(self.names, end.sizes, strict=True) if not math.isfinite(size)]
        if lost:
            reason = f"{len(lost)} of the adapter's {len(weights)} tensors are not finite at the end, {lost[0]} first"
            raise Stop(Status.DIVERGED, reason)
        if not int(sharding.most(self._finite_steps, self.share)):
            raise Stop(Status.DIVERGED, "no step had finite gradients, so that the adapter never moved")
        from_zero = [size == 0 for size in start.sizes]
        values = zip(from_zero, end.sizes, start.bits, end.bits, strict=True)
        moved = [size > 0 if is_from_zero else before != after for is_from_zero, size, before, after in values]
        noted = Noted(*sharding.most(self._noted, self.share).tolist())
        return judge(self.names, from_zero, moved, noted)

    def _gradients(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return whether this step's gradients are finite, and if so which tensors have any: (), (tensors,) bool."""
        present = [weight.grad for weight in self._parameters if weight.grad is not None]
        local = [gradient.to_local() if isinstance(gradient, DTensor) else gradient for gradient in present]
        # The sum of absolute values: squares of small numbers would vanish.
        sizes = iter(torch._foreach_norm(local, 1) if local else ())
        sums = torch.stack([self._zero if one.grad is None else next(sizes).float() for one in self._parameters])
        is_finite = sums.isfinite().all()
        return is_finite, (sums > 0) & is_finite


def judge(names: list[str], from_zero: list[bool], moved: list[bool], noted: Noted) -> dict:
    """Return the counts of `AdapterCounts`; raise UserError that names a tensor which nothing explains.

    `from_zero` says which tensors began as zeros, `moved` which are no longer what they were at the start.
    """
    partners = {_pair(name): place for place, name in enumerate(names) if from_zero[place]}
    # What began at zero is moved by nothing but a gradient, before an interruption too.
    had = [seen > 0 or (zero and move) for seen, zero, move in zip(noted.seen, from_zero, moved, strict=True)]
    reasons: dict[str, list[str]] = {name: [] for name in ("partner_at_zero", "at_rate_zero", "idle_experts", "")}
    for place, name in enumerate(names):
        partner = partners.get(_pair(name), place)
        if had[place] and not moved[place]:
            reasons["" if noted.pushed[place] else "at_rate_zero"].append(name)
        elif not had[place] and partner != place and had[partner]:
            reasons["" if noted.followed[partner] else "partner_at_zero"].append(name)
        elif not had[place]:
            reasons["idle_experts" if _EXPERT.search(name) else ""].append(name)
    if unexplained := reasons.pop(""):
        # Without the half that began at zero the other half cannot train: the first is the cause.
        unexplained.sort(key=lambda name: not from_zero[names.index(name)])
        _refuse(unexplained, had[names.index(unexplained[0])])
    counts = {"tensors": len(names), "moved": sum(moved), "without_gradient": len(names) - sum(had)}
    return counts | {reason: len(listed) for reason, listed in reasons.items()}


def _refuse(unexplained: list[str], had_gradient: bool) -> None:
    """Raise UserError for tensors that have not trained."""
    name = unexplained[0] + (f" and {len(unexplained) - 1} more" if unexplained[1:] else "")
    if had_gradient:
        raise UserError(f"adapter: {name} had gradients and is as it was at the start; raise learning_rate")
    raise UserError(f"adapter: {name} had no gradient in any step; leave such layers out of lora.targets")


def _pair(name: str) -> str:
    """Return what the names of both halves of a LoRA pair begin with."""
    return name.partition(".lora_")[0]
