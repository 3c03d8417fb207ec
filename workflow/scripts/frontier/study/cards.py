"""The card that a plan is for where it is not the device present: one of config/cards.yaml, or a user's figures."""

import difflib
import functools

import yaml

from frontier import paths
from frontier.errors import UserError


def find(card) -> dict | None:
    """Return the figures of `plan.card`, with its `name`; None for "auto", which is the device present.

    A name may be in any case, and with or without NVIDIA and GeForce. Raises UserError for one that is not known.
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
    """Return the figures of each card of config/cards.yaml, by its name there."""
    return yaml.safe_load(paths.CARDS.read_text("utf-8"))


def normalised_name(name: str) -> str:
    """Return a card's name so that those of drivers, datasheets and config/cards.yaml are equal for the same card."""
    return _others().get(_bare(name), _bare(name))


@functools.cache
def _others() -> dict[str, str]:
    """Return the normalised name in config/cards.yaml, by what CUDA calls a card where the two differ."""
    return {_bare(other): _bare(name) for name, card in table().items() for other in card.get("cuda_names", ())}


def _bare(name: str) -> str:
    """Return a name in lower case without the words that only some write."""
    words = name.lower().replace("-", " ").split()
    return " ".join(word for word in words if word not in ("nvidia", "geforce", "gpu", "tensor", "core"))
