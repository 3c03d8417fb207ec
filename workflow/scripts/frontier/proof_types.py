"""Types of a model's proof (resources/proof.json): in which ways its losses may be computed, and what was shown."""

from typing import Annotated, Literal, TypedDict


class Way(TypedDict):
    """How losses are computed."""

    rows: Annotated[Literal["packed", "single"], "Examples end to end in one row, or each a row of its own."]
    attention: Annotated[Literal["packed", "own"], "This project's attention over packed rows, or the model's own."]
    head: Annotated[Literal["matrix", "own"], "A product with the head's weight, or the model's code after its layers."]


class WayUpTo(Way):
    """How losses are computed, and the longest example for which they may be computed so."""

    up_to: Annotated[int | None, "Tokens of the longest example for which it holds; null for any length."]


class Sizes(TypedDict):
    """By how much each property that was tried is missed: by no more than rounding, where it holds."""

    own: Annotated[float, "Losses of an example alone against the model's own forward pass; the largest, in nats."]
    packed: Annotated[float, "Losses of examples together against the model's own; the largest, in nats."]
    causal: Annotated[float, "What a later token moves of earlier losses; the largest, in nats."]
    gradients: Annotated[float, "The adapter's gradients against the model's own; the largest share of a norm."]
    checkpointing: Annotated[
        float | None, "Gradients with activations computed twice, as a share; null where the model cannot do so."
    ]


class Shown(TypedDict):
    """What was shown of a model, and where."""

    device: Annotated[Literal["cpu", "cuda"], "The kind of device that it was proved on."]
    versions: Annotated[dict[str, str | None], "Versions of torch, transformers, peft and bitsandbytes by then."]
    layers: Annotated[int, "Layers of the shape that was tried: the first that hold one of each kind."]
    layers_in_all: Annotated[int, "Layers of the model."]
    sizes: Annotated[Sizes, "By how much each property fails in the last way that was tried."]
    left_out: Annotated[list[str], "Names of linear layers that all-linear leaves out, since no adapter acts there."]
    read_directly: Annotated[
        list[str], "Linear layers whose weight the model reads without calling them; stored in 16 bits at least."
    ]


class ProofInShort(Shown):
    """What a training's record says of its model's proof."""

    way: Annotated[Way, "How its losses were computed."]


class ProofRecord(Shown):
    """What was shown of a model before it was measured (resources/proof.json)."""

    model: Annotated[str, "The digest of the model's files."]
    seconds: Annotated[float, "What the proof took."]
    ways: Annotated[list[WayUpTo], "The ways that hold, in order of preference."]
    failed: Annotated[dict[str, str], "The ways that do not hold, and why."]
