"""Write each setting that may have several values in one way, however YAML spelled it."""

from typing import Any

from frontier import axes
from frontier.errors import UserError
from frontier.study.keys.configuration import key_at
from frontier.study.refusals import shown


def normalised(config: dict) -> dict:
    """Return a completed configuration with lists in order, a list of one as its value, and whole numbers as such.

    The order of a list means nothing, and 1 is 1.0. Raises UserError where two values of a list are one.
    """
    own = config | {"lora": dict(config["lora"])}
    for column in axes.TAGS:
        *section, key = place = axes.place(column)
        holder = own[section[0]] if section else own
        whole = key_at(place).kind.rule.get("anyOf", [{}])[0].get("type") in ("integer", ["integer", "null"])
        value = holder[key]
        if column == "targets":
            holder[key] = _sets(value)
        elif isinstance(value, list):
            holder[key] = _values([_one(item, whole) for item in value], ".".join(place))
        else:
            holder[key] = _one(value, whole)
    return own


def _sets(targets: Any) -> Any:
    """Return sets of targets in the order of their names; a set alone as what it is."""
    if not isinstance(targets, dict):
        return targets
    return dict(sorted(targets.items())) if len(targets) > 1 else next(iter(targets.values()))


def _values(values: list, place: str) -> Any:
    """Return different values in order, a multiple of the rank after numbers; a value alone as itself."""
    texts = [axes.text(value) for value in values]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice:
        raise UserError(f"config: {place}: got {shown(values)}, where {twice} stands twice")
    return sorted(values, key=lambda value: (isinstance(value, str), value)) if len(values) > 1 else values[0]


def _one(value: Any, whole: bool) -> Any:
    """Return a value as it is always written: numbers as float unless they are counts, 2.0r as 2r."""
    if isinstance(value, int) and not isinstance(value, bool) and not whole:
        return float(value)
    return axes.text(value) if isinstance(value, str) else value
