"""The card that a plan is for where it is not the device present: of config/cards.yaml, a memory size, or figures."""

import difflib
import functools
import re

import yaml

from frontier import paths
from frontier.errors import UserError

# The makers of cards whose trainings are otherwise than CUDA's, with what a user of theirs should know.
_CAUTIONS = {
    "AMD": "an AMD card is planned as a CUDA card would be; no training has been tried on one",
    "Apple": "Apple's graphics are not used: a training runs on the CPU, and is planned for that, its memory alone",
}
# The compute capability of a card of which its memory alone is known: Ampere's, as of most cards since 2020.
_CAPABILITY = [8, 0]
# A size of memory in GB, which on a card are GiB.
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:gb|gib|g)?", re.IGNORECASE)


def find(card) -> dict | None:
    """Return the figures of `plan.card`, with its `name`; None for "auto", which is the device present.

    A name may be in any case, and with or without NVIDIA, GeForce and RTX; a size of memory is a card of that size and
    of unknown speed. Raises UserError for one that is not known, or has no memory.
    """
    if isinstance(card, dict):
        return {"name": "card of one's own", "link_gbs": None, "capability": _CAPABILITY} | card
    if card == "auto":
        return None
    known = table()
    names = {normalised_name(name): name for name in known}
    shorter = {_without_series(name): full for name, full in names.items()}
    wanted = normalised_name(card)
    name = names.get(wanted) or shorter.get(_without_series(wanted))
    # Behind the names, since a 4090 is a card.
    if name is None and (size := _SIZE.fullmatch(card.strip())):
        return _of_size(float(size[1]), card)
    if name is None:
        close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
        hint = f"did you mean {names[close[0]]}?" if close else "takes a card of config/cards.yaml, say RTX 4090."
        raise UserError(
            f"config: plan.card: got {card}; {hint} Or give its memory, say 12 GB, or memory_gib, bandwidth_gbs and "
            "half_tflops"
        )
    return {"name": name} | known[name]


def caution(card: dict) -> str | None:
    """Return what a user should know of a plan for a card that is not NVIDIA's; None for one that is."""
    return _CAUTIONS.get(card.get("maker", ""))


@functools.cache
def table() -> dict[str, dict]:
    """Return the figures of each card of config/cards.yaml, by its name there."""
    return yaml.safe_load(paths.CARDS.read_text("utf-8"))


def normalised_name(name: str) -> str:
    """Return a card's name so that those of drivers, datasheets and config/cards.yaml are equal for the same card."""
    return _others().get(_bare(name), _bare(name))


def _of_size(gib: float, given: str) -> dict:
    """Return a card of which the memory alone is known; UserError where that is none."""
    if not gib:
        raise UserError(f"config: plan.card: got {given}, takes a memory above 0, say 12 GB")
    return {"name": f"{gib:g} GB", "memory_gib": gib, "link_gbs": None, "capability": _CAPABILITY}


@functools.cache
def _others() -> dict[str, str]:
    """Return the normalised name in config/cards.yaml, by what CUDA calls a card where the two differ."""
    return {_bare(other): _bare(name) for name, card in table().items() for other in card.get("cuda_names", ())}


def _bare(name: str) -> str:
    """Return a name in lower case without the words that only some write, its numbers apart from the series."""
    apart = re.sub(r"\b(rtx|rx|gtx)(\d)", r"\1 \2", name.lower().replace("-", " "))
    words = re.sub(r"(\d) gb\b", r"\1gb", apart).split()
    return " ".join(word for word in words if word not in ("nvidia", "geforce", "gpu", "tensor", "core", "amd"))


def _without_series(name: str) -> str:
    """Return a normalised name without the words of its series: a 3060 is an RTX 3060."""
    return " ".join(word for word in name.split() if word not in ("rtx", "rx", "radeon", "instinct", "apple"))
