"""The type of the rows of results/options.csv: what could be trained on a card."""

from typing import Annotated, Literal, TypedDict

from frontier.request_types import Precision


class OptionRow(TypedDict):
    """results/options.csv: a configuration of a shape that fits a card, by the workflow's own defaults for the rest."""

    device: Annotated[str, "The card that is planned for, by its name or its memory."]
    memory_gib: Annotated[float, "What a run may hold on it, in GiB."]
    model: Annotated[str, "The shape's name in config/shapes.yaml, or `this study's model`."]
    billions: Annotated[float, "Its parameters, in billions."]
    precision: Annotated[Precision, "How the frozen base is stored."]
    rank: Annotated[int, "LoRA's rank, on every linear layer."]
    length: Annotated[int, "Tokens of each example."]
    gradient_checkpointing: Annotated[bool, "Whether activations are computed again in the backward pass, not kept."]
    batch_size: Annotated[int, "Examples an optimiser step."]
    micro_batch_size: Annotated[int, "Examples at a time, to set: the most that divide `batch_size` and surely fit."]
    largest_micro_batch: Annotated[int, "The most examples at a time that may fit, up to 32,768 tokens."]
    peak_gib: Annotated[float, "What such a run holds at its worst moment, in GiB, CUDA's context included."]
    seconds_per_step: Annotated[float | None, "Seconds an optimiser step; empty for a card of unknown speed."]
    hours: Annotated[float | None, "Hours for `ask.rows` examples, each learned once; empty as the seconds."]
    limited_by: Annotated[
        Literal["compute", "bandwidth", "launches"] | None, "What takes most of a step; empty as the seconds."
    ]
