"""The device that a plan is for, where it is not the one present: a card by its name, or figures of one's own."""

import difflib
import functools

import yaml

from frontier import paths
from frontier.errors import UserError

FIGURES = ("memory_gib", "bandwidth_gbs", "half_tflops", "link_gbs")


def find(card) -> dict | None:
    """The figures of `plan.card`, with its `name`; None for auto, the device that is there.

    A name may be in any case and with or without NVIDIA and GeForce. Raises UserError for one that is not known.
    """
    if isinstance(card, dict):
        return {"name": "card of one's own", "link_gbs": None, "capability": [8, 0]} | card
    if card == "auto":
        return None
    known = table()
    names = {normalised_name(name): name for name in known}
    name = names.get(normalised_name(card))
    if name is None:
        close = difflib.get_close_matches(normalised_name(card), names, n=1, cutoff=0.5)
        hint = f"did you mean {names[close[0]]}?" if close else f"takes one of {', '.join(known)}"
        raise UserError(f"config: plan.card: got {card}; {hint} Or give memory_gib, bandwidth_gbs and half_tflops")
    return {"name": name} | known[name]


@functools.cache
def table() -> dict[str, dict]:
    return yaml.safe_load(paths.CARDS.read_text("utf-8"))


def normalised_name(name: str) -> str:
    """A card's name without what the makers of drivers and of tables write differently."""
    return _others().get(_bare(name), _bare(name))


@functools.cache
def _others() -> dict[str, str]:
    """What CUDA calls cards that their makers call otherwise."""
    return {_bare(other): _bare(name) for name, card in table().items() for other in card.get("cuda_names", ())}


def _bare(name: str) -> str:
    words = name.lower().replace("-", " ").split()
    return " ".join(word for word in words if word not in ("nvidia", "geforce", "gpu", "tensor", "core"))
