"""What a step needs at its worst moment: of which parts, and how much more the allocator holds.

Decoder layers are alike, so the peak is traced for a few of them and drawn out to all. It is drawn out for each part
of the step on its own, because which part is the worst may change with the number of layers: within a part, layer
after layer adds (or frees) the same, so its peak is a straight line over the number of layers.
"""

from dataclasses import dataclass

from frontier import allocator, tracing

FEW = (2, 3)
GIB = 2**30


@dataclass(frozen=True)
class Peak:
    """Bytes at the worst moment: all, by category, and what the allocator holds (reserved) by then at the most."""

    allocated: float
    reserved: float
    parts: dict[str, float]


def peak(config, request: dict, rows: list[dict], lengths: list[int], device: tracing.Device) -> Peak:
    """The peak of a run's optimiser step over `rows` (`tracing.trace`), whatever the number of layers."""
    layers = config.get_text_config().num_hidden_layers
    if layers <= FEW[1] or not are_alike(config):
        return worst(regions(tracing.trace(config, request, rows, lengths, device), device.cuda))
    few = [
        regions(tracing.trace(shortened(config, count), request, rows, lengths, device), device.cuda) for count in FEW
    ]
    return worst(drawn_out(*few, layers))


def regions(trace: tracing.Trace, cuda: bool) -> dict[str, Peak]:
    """The peak of each part of the step: before the loss, the backward pass's two halves, the update."""
    events = trace.events
    pools = [_replayed(events, recorded, cuda) for recorded in (False, True)]
    backward = sum(event.phase == "backward" for event in events)
    parts = dict.fromkeys(tracing.CATEGORIES, 0)
    found: dict[str, Peak] = {}
    seen, reserved = 0, 0
    for event, plain, recorded in zip(events, *pools, strict=True):
        parts[event.category] += event.size
        seen += event.phase == "backward"
        region = event.phase if event.phase != "backward" else f"backward {int(2 * seen > backward)}"
        allocated = plain[0] + recorded[0]
        reserved = max(reserved, plain[1] + recorded[1])
        if region not in found or allocated > found[region].allocated:
            found[region] = Peak(allocated, reserved, dict(parts))
        elif reserved > found[region].reserved:
            found[region] = Peak(found[region].allocated, reserved, found[region].parts)
    return found


def drawn_out(few: dict[str, Peak], more: dict[str, Peak], layers: int) -> dict[str, Peak]:
    """The regions of so many layers, from those of FEW[0] and FEW[1] layers."""

    def line(one: float, other: float) -> float:
        return one + (other - one) * (layers - FEW[0]) / (FEW[1] - FEW[0])

    return {
        name: Peak(
            line(few[name].allocated, more[name].allocated),
            line(few[name].reserved, more[name].reserved),
            {part: line(few[name].parts[part], more[name].parts[part]) for part in tracing.CATEGORIES},
        )
        for name in few
    }


def worst(found: dict[str, Peak]) -> Peak:
    """The region with the most allocated; what rounding adds to its parts is counted with the activations."""
    top = max(found.values(), key=lambda one: one.allocated)
    reserved = max(top.allocated, *(one.reserved for one in found.values()))
    rounding = top.allocated - sum(top.parts.values())
    return Peak(top.allocated, reserved, top.parts | {"activations": top.parts["activations"] + rounding})


def are_alike(config) -> bool:
    """Whether a config's decoder layers are all of one kind, as far as it says."""
    text = config.get_text_config()
    per_layer = [value for value in vars(text).values() if isinstance(value, list | tuple)]
    mixed = any(len(value) == text.num_hidden_layers and len(set(map(str, value))) > 1 for value in per_layer)
    return not mixed and not any(getattr(text, name, None) for name in ("num_experts", "num_local_experts"))


def shortened(config, layers: int):
    """The same model with fewer layers."""
    copy = type(config).from_dict(config.to_dict())
    text = copy.get_text_config()
    before = text.num_hidden_layers
    text.num_hidden_layers = layers
    for name, value in vars(text).items():
        if isinstance(value, list) and len(value) == before:
            setattr(text, name, value[:layers])
    return copy


def _replayed(events: list, recorded: bool, cuda: bool) -> list[tuple[int, int]]:
    """Allocated and reserved bytes after each event, of those alone that a CUDA graph owns, or of all others.

    Segments are expandable, as `supervise.environment` asks for them.
    """
    own = [(event.key, event.size) for event in events if event.recorded == recorded]
    states = allocator.replay(own, expandable=True) if cuda else _plain(own)
    result, state = [], (0, 0)
    for event in events:
        if event.recorded == recorded:
            state = next(states)
        result.append(state)
    return result


def _plain(events: list[tuple[int, int]]):
    """A processor's memory: what is freed goes back at once."""
    allocated = 0
    for _, size in events:
        allocated += size
        yield allocated, allocated
