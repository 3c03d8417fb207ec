"""Predict what a step needs at its worst moment, by its parts, and how much more the allocator holds.

Where decoder layers are alike, the step is traced with two and with three of them, and its peak with all of them is
extrapolated; else it is traced whole. Within a part of the step, such as a half of the backward pass, each layer adds
(or frees) the same, so the part's peak is a straight line over the number of layers. Each part is extrapolated on its
own, because which of them needs most may change with the number of layers.
"""

from dataclasses import dataclass, replace

from frontier.plan.step import tracer
from frontier.plan.step.emulated_card import EmulatedCard
from frontier.plan.step.trace import trace_step
from frontier.request_types import TrainingRequest

# Numbers of layers that are traced. With one layer, both halves of the backward pass would be in it.
FEW = (2, 3)
# Bytes: torch's allocator rounds each size up to a multiple of this, and with expandable segments, which
# `machine.launch` asks for except on WSL, no more is lost.
_BLOCK = 512
# The most that torch's CUDA allocator was seen to keep beyond what is allocated, as a share of that (docs/planner.md):
# with tensors of many sizes, some that are free are too small for the next.
KEPT_SHARE = 0.06
# Bytes: the allocator takes pages of 20 MiB, and of 2 MiB for small tensors. It has pools of each, for a training and
# for its CUDA graphs, and the last page of a pool is used in part.
PAGES_BYTES = 2 * (20 + 2) * 2**20
# Bytes that the driver keeps for each kernel of a CUDA graph: on an H200 with CUDA 13.0 it was 25 MiB for 8,242
# kernels, and 4 MiB for 1,225.
GRAPH_KERNEL_BYTES = 3200


@dataclass(frozen=True)
class Peak:
    """Bytes at the moment when the most is `allocated`, by category in `parts`, and the most that is `held`.

    What is held counts the pool of the CUDA graphs as large as it ever was, since it is not given back, and on a card
    the allocator's pages that are used in part. `graphs` is
    what the driver takes beside the allocator for all CUDA graphs.
    """

    allocated: float
    held: float
    parts: dict[str, float]
    graphs: float = 0.0


def predict_peak(config, request: TrainingRequest, rows: list[dict], lengths: list[int], card: EmulatedCard) -> Peak:
    """Return the peak of a run's optimiser step over `rows`, as `trace_step` takes them, with all of the layers."""
    layers = config.get_text_config().num_hidden_layers
    if layers <= FEW[1] or not are_alike(config):
        return _paged(worst(regions(trace_step(config, request, rows, lengths, card), card.is_cuda)), card)
    few, more = (
        regions(trace_step(shortened(config, count), request, rows, lengths, card), card.is_cuda) for count in FEW
    )
    return _paged(worst(drawn_out(few, more, layers)), card)


def regions(trace: tracer.Trace, cuda: bool) -> dict[str, Peak]:
    """Return the peak of each part of the step: its phases, by name, with the backward pass in two halves."""
    backward = sum(event.phase == "backward" for event in trace.events)
    parts = dict.fromkeys(tracer.CATEGORIES, 0)
    found: dict[str, Peak] = {}
    graphs = trace.graph_kernels * GRAPH_KERNEL_BYTES
    seen = plain = captured = most_captured = 0
    for event in trace.events:
        size = rounded(event.size) if cuda else event.size
        parts[event.category] += size
        if event.captured:
            captured += size
            most_captured = max(most_captured, captured)
        else:
            plain += size
        seen += event.phase == "backward"
        region = event.phase if event.phase != "backward" else f"backward {int(2 * seen > backward)}"
        before = found.get(region, Peak(-1, -1, {}))
        held = max(before.held, plain + most_captured)
        if plain + captured > before.allocated:
            found[region] = Peak(plain + captured, held, dict(parts), graphs)
        elif held > before.held:
            found[region] = Peak(before.allocated, held, before.parts, graphs)
    return found


def drawn_out(few: dict[str, Peak], more: dict[str, Peak], layers: int) -> dict[str, Peak]:
    """Return the peaks for so many `layers`, on the line through those for FEW[0] and FEW[1] layers."""

    def line(one: float, other: float) -> float:
        return one + (other - one) * (layers - FEW[0]) / (FEW[1] - FEW[0])

    return {
        name: Peak(
            line(few[name].allocated, more[name].allocated),
            line(few[name].held, more[name].held),
            {part: line(few[name].parts[part], more[name].parts[part]) for part in tracer.CATEGORIES},
            line(few[name].graphs, more[name].graphs),
        )
        for name in few
    }


def worst(found: dict[str, Peak]) -> Peak:
    """Return the peak of the part with the most allocated; its `held` is the most that any part holds."""
    top = max(found.values(), key=lambda one: one.allocated)
    return replace(top, held=max(top.allocated, *(one.held for one in found.values())))


def _paged(peak: Peak, card: EmulatedCard) -> Peak:
    return replace(peak, held=peak.held + PAGES_BYTES) if card.is_cuda else peak


def are_alike(config) -> bool:
    """Return whether a config's decoder layers are all of one kind, as far as the config tells."""
    text = config.get_text_config()
    per_layer = [value for value in vars(text).values() if isinstance(value, list | tuple)]
    mixed = any(len(value) == text.num_hidden_layers and len(set(map(str, value))) > 1 for value in per_layer)
    return not mixed and not any(getattr(text, name, None) for name in ("num_experts", "num_local_experts"))


def few_layers(config) -> tuple[int, ...]:
    """Return the numbers of layers of which a step tells that of all: two, or all where layers are each of their own.

    Where kinds of layers come round, say five with a window and one without, both numbers are of whole rounds.
    """
    text = config.get_text_config()
    layers = text.num_hidden_layers
    if are_alike(config):
        return FEW if layers > FEW[1] else (layers,)
    kinds = [value for value in vars(text).values() if isinstance(value, list | tuple) and len(value) == layers]
    rounds = (size for size in range(2, layers // 2) if all(kind[size:] == kind[:-size] for kind in kinds))
    has_experts = any(getattr(text, name, None) for name in ("num_experts", "num_local_experts"))
    size = None if has_experts else next(rounds, None)
    return (size, 2 * size) if size else (layers,)


def shortened(config, layers: int):
    """Return the config of the same model with fewer layers."""
    copy = type(config).from_dict(config.to_dict())
    text = copy.get_text_config()
    before = text.num_hidden_layers
    text.num_hidden_layers = layers
    for name, value in vars(text).items():
        if isinstance(value, list) and len(value) == before:
            setattr(text, name, value[:layers])
    return copy


def rounded(size: int) -> int:
    """Return the bytes that the allocator takes for so many; a size below 0 is one that is freed."""
    return -(-abs(size) // _BLOCK) * (_BLOCK if size > 0 else -_BLOCK)
