"""What a proof is made with: made-up examples, and weights stored as a base's are."""

import torch

from frontier.model.data.tokens import IGNORED
from frontier.model.layers import is_castable
from frontier.model.loss import causal_model
from frontier.run.own_pass import own_losses

# Tokens of the examples that a model is proved with. One is within a reach of 16 that the others pass: a family may
# decide for all of a row by its longest example.
LENGTHS = (30, 12, 41)


def made_up(vocabulary: int, avoided: set[int], lengths: tuple[int, ...] = LENGTHS) -> list[dict]:
    """Return examples of random tokens, all labelled but a prompt of five in the first and of one in the others."""
    draw = torch.Generator().manual_seed(0)
    usable = torch.tensor([token for token in range(vocabulary) if token not in avoided])
    examples = []
    for number, length in enumerate(lengths):
        prompt = 1 if number else 5
        ids = usable[torch.randint(len(usable), (length,), generator=draw)].tolist()
        examples.append({"input_ids": ids, "labels": [IGNORED] * prompt + ids[prompt:]})
    return examples


def read_directly(model, example: dict) -> list[str]:
    """Return the linear layers whose weight the model reads without calling the layer, by their names in a block.

    Such a weight can neither be cast as the layer is called nor be stored in 4 bits, and an adapter on it never acts.
    A model in training may read one that it calls otherwise.
    """
    layers = {name: module for name, module in model.named_modules() if is_castable(module)}
    found: set[str] = set()
    for mode in (False, True):
        model.train(mode)
        called = _called(model, layers, example)
        idle = [name for name in layers if name not in called]
        weights = [layers[name].weight.requires_grad_(True) for name in idle]
        if weights:
            loss = own_losses(model, example).sum()
            # Layers that the examples never come to, an expert's say, leave the loss without a gradient.
            read = torch.autograd.grad(loss, weights, allow_unused=True) if loss.requires_grad else []
            found |= {_in_block(name) for name, one in zip(idle, read, strict=False) if one is not None}
        for weight in weights:
            weight.requires_grad_(False)
    model.eval()
    return sorted(found)


@torch.no_grad()
def _called(model, layers: dict, example: dict) -> set[str]:
    """Return the names of the layers that the model's forward pass calls."""
    called: set[str] = set()
    hooks = [layer.register_forward_pre_hook(lambda *_, name=name: called.add(name)) for name, layer in layers.items()]
    own_losses(model, example)
    for hook in hooks:
        hook.remove()
    return called


def _in_block(name: str) -> str:
    """Return a layer's name within its block: mixer.dt_proj of model.layers.3.mixer.dt_proj."""
    parts = name.split(".")
    last = max((place for place, part in enumerate(parts) if part.isdigit()), default=-1)
    return ".".join(parts[last + 1 :])


def store_in_16_bits(model) -> None:
    """Store the frozen weights as a base's are stored, but for those that the model wants in 32 bits."""
    kept = tuple(getattr(causal_model(model), "_keep_in_fp32_modules", None) or ())
    for name, weight in model.named_parameters():
        if not weight.requires_grad and weight.is_floating_point():
            stored = weight.data.half()
            weight.data = stored.float() if any(part in name for part in kept) else stored


def changed(example: dict, place: int) -> dict:
    """Return the example with another token in one place, which is another example's token too."""
    ids = list(example["input_ids"])
    ids[place] = next(token for token in ids if token != ids[place])
    labels = list(example["labels"])
    labels[place] = ids[place] if labels[place] != IGNORED else IGNORED
    return {"input_ids": ids, "labels": labels}
