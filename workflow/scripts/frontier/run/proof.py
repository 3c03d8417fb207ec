"""Prove that losses and gradients, as this project computes them, are a model's own.

Which families a list names says little of the next one. So each model is tried itself, on its shape: its layers, a few
of each kind, with random weights of such a spread that a fault shows. What is proved is in PROPERTIES.
"""

from dataclasses import dataclass, field

import torch
from peft import LoraConfig, get_peft_model

from frontier.errors import first_line
from frontier.model import packing
from frontier.model.execution import CANDIDATES, Execution
from frontier.model.layers import compute_in, draws_randomly
from frontier.model.loss import token_losses
from frontier.model.targets import ALL, adapted_layers
from frontier.run.own_pass import (
    LEAST_EFFECT,
    Tolerance,
    differences,
    gradients_of,
    largest,
    own_losses,
    own_pass,
    tolerance_of,
)
from frontier.run.proof_material import changed, read_directly, store_in_16_bits

# Of the adapter that is tried.
_RANK = 4
PROPERTIES = {
    "own": "an example alone has the losses of the model's own forward pass",
    "packed": "an example in a row with others has the losses that it has alone",
    "causal": "a later token moves no earlier loss",
    "gradients": "each adapter tensor's gradient is that of the model's own forward pass",
    "checkpointing": "gradients are the same with activations computed twice",
}


@dataclass
class Proof:
    """What was found: the ways that hold, in order of preference, and of each way that does not, why."""

    ways: list[Execution] = field(default_factory=list)
    failures: dict[Execution, str] = field(default_factory=dict)
    sizes: dict[str, float | None] = field(default_factory=dict)
    read_directly: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


class Unequal(Exception):
    """A property does not hold: its name, and by how much in nats or as a share of a gradient's norm."""

    def __init__(self, name: str, size: float, what: str = ""):
        super().__init__(name)
        self.name, self.size, self.what = name, size, what


def prove(causal, examples: list[dict], ways=CANDIDATES) -> Proof:
    """Return which ways of computing losses give those of a causal language model, with an adapter on all that can be.

    The model computes in float32 with weights that 16 bits hold, as `shape.lively` makes them. It is changed: they are
    frozen and stored in 16 bits, and its layers become this project's. Raises Unequal where its weights tell nothing.
    """
    causal.requires_grad_(False).eval()
    proof = Proof(read_directly=read_directly(causal, examples[0]))
    names, proof.left_out = adapted_layers(causal, ALL, proof.read_directly)
    # With neither of LoRA's matrices at zero both have gradients.
    adapter = LoraConfig(r=_RANK, target_modules=names, task_type="CAUSAL_LM", init_lora_weights=False)
    model, own_attention = get_peft_model(causal, adapter), causal.config._attn_implementation
    expected, gradients = own_pass(model, examples)
    _require_effect(model, examples, expected)
    tolerance = tolerance_of(model, examples, expected, gradients)
    store_in_16_bits(model)
    compute_in(model, torch.float32, proof.read_directly)
    for way in ways:
        causal.set_attn_implementation(packing.ATTENTION if way.attention == "packed" else own_attention)
        try:
            proof.sizes = _check(model, examples, way, expected, gradients, tolerance)
            proof.ways.append(way)
            break
        except Unequal as error:
            proof.failures[way] = f"{error.what}{error.name}, by {error.size:.2g}"
        # What a family does not take is an error of its own code, of whatever kind.
        except Exception as error:
            proof.failures[way] = f"{type(error).__name__}: {first_line(error)}"
    return proof


def _check(
    model, examples: list[dict], way: Execution, expected: list[torch.Tensor], gradients: dict, tolerance: Tolerance
) -> dict:
    """Return the size of each property's failure, all within tolerance; raises Unequal for the first that is not."""
    device = model.device

    def losses(rows: list[dict]) -> torch.Tensor:
        return token_losses(model, on_device(packing.collate(rows), device), way=way)

    sizes = {}
    with torch.no_grad():
        alone = [losses([example]) for example in examples]
        sizes["own"] = largest(torch.cat(alone) - torch.cat(expected))
        _require(sizes["own"], tolerance.losses, "own")
        sizes["packed"] = largest(losses(examples) - torch.cat(expected))
        _require(sizes["packed"], tolerance.losses, "packed")
        altered = [changed(example, -1) for example in examples]
        earlier = torch.cat([losses([one])[:-1] - before[:-1] for one, before in zip(altered, expected, strict=True)])
        sizes["causal"] = largest(earlier)
        _require(sizes["causal"], tolerance.losses, "causal")
    found = gradients_of(model, lambda: losses(examples).sum())
    sizes["gradients"] = _compare(found, gradients, tolerance.gradients, "gradients")
    if not model.supports_gradient_checkpointing:
        return sizes | {"checkpointing": None}
    model.train()
    try:
        is_random = draws_randomly(model)
        # Without random numbers a model in training has to compute what it does outside of it.
        plain = gradients_of(model, lambda: losses(examples).sum(), seed=0) if is_random else found
        how = {"use_reentrant": False, "preserve_rng_state": is_random}
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)
        twice = gradients_of(model, lambda: losses(examples).sum(), seed=0)
        sizes["checkpointing"] = _compare(twice, plain, tolerance.gradients, "checkpointing")
    finally:
        model.gradient_checkpointing_disable()
        model.eval()
    return sizes


def _require(size: float, tolerance: float, name: str, what: str = "") -> None:
    # Not `size > tolerance`, which is false of a number that is none.
    if not size <= tolerance:
        raise Unequal(name, size, what)


def _require_effect(model, examples: list[dict], expected: list[torch.Tensor]) -> None:
    """Raise Unequal where an example's first token does not move the losses of later ones."""
    sizes = []
    with torch.no_grad():
        for example, before in zip(examples, expected, strict=True):
            moved = own_losses(model, changed(example, 0)) - before
            sizes.append(largest(moved[1:]))
    size = min(sizes)
    if not size >= LEAST_EFFECT:
        raise Unequal("effect", size)


def _compare(found: dict, expected: dict, tolerance: float, name: str) -> float:
    """Return the largest difference of two sets of gradients, as a share of a tensor's norm; Unequal if too large."""
    missing = sorted(expected.keys() - found.keys())
    if missing:
        raise Unequal(name, 1.0, f"{missing[0]} has none; ")
    sizes = differences(found, expected)
    worst = max(sizes, key=sizes.get)
    _require(sizes[worst], tolerance, name, f"{worst}: ")
    return sizes[worst]


def on_device(batch: dict, device: torch.device) -> dict:
    """Return a packed row with its tensors on the device."""
    return {key: value.to(device) if torch.is_tensor(value) else value for key, value in batch.items()}
