"""A model's own losses and gradients, and how far another way of computing them may be from them by rounding."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F

from frontier.model.data.tokens import IGNORED

# Of the largest loss. Sums in another order differ by some 1e-6 of it in float32; a leak or a wrong mask by 1e-2 nats
# and more.
TOLERANCE = 5e-5
# Of a tensor's norm.
GRADIENT_TOLERANCE = 1e-3
# How many times what a model's own losses and gradients move, when each of its weights moves by its last bit, is
# rounding too: a ReLU's kink or a choice of experts turns one into more.
_TIMES_MOVED = 4
# Of a tensor's norm; no more than this is rounding. Of losses it is LEAST_EFFECT.
_MOST_ROUNDING = 2e-2
# What a changed token must move at the least for the weights to tell anything, in nats.
LEAST_EFFECT = 1e-2


class Tolerance(NamedTuple):
    """The largest differences that count as none: of losses in nats, of gradients as a share of a tensor's norm."""

    losses: float
    gradients: float


def own_losses(model, example: dict) -> torch.Tensor:
    """Return the labelled tokens' losses in nats by the model's own forward pass, nothing of this project in it."""
    ids = torch.tensor([example["input_ids"]], device=model.device)
    labels = torch.tensor(example["labels"][1:], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
    kept = labels != IGNORED
    return F.cross_entropy(logits[kept], labels[kept], reduction="none")


def own_pass(model, examples: list[dict]) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """Return each example's losses by the model's own forward pass, and the adapter's gradients of their sum."""
    losses = [own_losses(model, example) for example in examples]
    gradients = gradients_of(model, lambda: sum(one.sum() for one in losses))
    return [one.detach() for one in losses], gradients


def gradients_of(model, loss: Callable[[], torch.Tensor], seed: int | None = None) -> dict[str, torch.Tensor]:
    """Return each adapter tensor's gradient of a loss, by name; tensors without one are left out."""
    if seed is not None:
        torch.manual_seed(seed)
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    found = torch.autograd.grad(loss(), list(trainable.values()), allow_unused=True)
    return {name: one for name, one in zip(trainable, found, strict=True) if one is not None}


def differences(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return how far each expected gradient is from the one found, as a share of its norm; 1 where none was found."""
    # A tensor whose gradient is next to nothing is held to the scale of the others.
    least = 1e-3 * max(float(one.norm()) for one in expected.values())

    def size(key: str, one: torch.Tensor) -> float:
        return float((found[key] - one).norm()) / max(float(one.norm()), least) if key in found else 1.0

    return {key: size(key, one) for key, one in expected.items()}


def largest(difference: torch.Tensor) -> float:
    """Return the largest absolute value of a tensor."""
    return float(difference.abs().max())


def tolerance_of(model, examples: list[dict], expected: list[torch.Tensor], gradients: dict) -> Tolerance:
    """Return the tolerances for this model: what float32 rounds, and what moving the weights' last bits moves."""
    _move_last_bits(model)
    losses, moved = own_pass(model, examples)
    by_losses = _TIMES_MOVED * largest(torch.cat(losses) - torch.cat(expected))
    by_gradients = _TIMES_MOVED * max(differences(moved, gradients).values())
    return Tolerance(
        max(TOLERANCE * max(1.0, largest(torch.cat(expected))), min(by_losses, LEAST_EFFECT)),
        max(GRADIENT_TOLERANCE, min(by_gradients, _MOST_ROUNDING)),
    )


def _move_last_bits(model) -> None:
    """Move each frozen float32 weight by its last bit, up or down at random; rounding it to 16 bits takes that back."""
    for weight in model.parameters():
        if not weight.requires_grad and weight.is_floating_point():
            # In parts, since a head's random numbers are as many as its weights.
            for part in torch.atleast_1d(weight.data).split(4096):
                signs = torch.randint(0, 2, part.shape, device=part.device, dtype=torch.int8) * 2 - 1
                part.mul_(1 + signs * torch.finfo(torch.float32).eps)
