"""The well-known shapes of config/shapes.yaml: language models by name, without their weights and without a hub."""

import copy
import difflib
import functools
from typing import Any

import yaml

from frontier import paths
from frontier.errors import UserError


@functools.cache
def table() -> dict[str, dict[str, Any]]:
    """Return each shape by its name there: ids, released, parameters, source, and its transformers config."""
    return yaml.safe_load(paths.SHAPES.read_text("utf-8"))


def find(name: str) -> dict[str, Any]:
    """Return the transformers config of a shape, as options; its name may be in any case, or an id of the hub.

    Raises UserError for one that is not known.
    """
    known = table()
    names = {one.lower(): one for one in known}
    found = names.get(name.lower()) or _by_id().get(name.lower())
    if found is None:
        close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
        hint = f"did you mean {names[close[0]]}?" if close else f"takes one of {', '.join(known)}"
        raise UserError(f"config: model.name: got {name}; {hint}")
    return copy.deepcopy(known[found]["config"])


def of_hub(model_id: str) -> dict[str, Any] | None:
    """Return the transformers config of a model of the hub, as options; None where its shape is not in the table."""
    name = _by_id().get(model_id.lower())
    return None if name is None else copy.deepcopy(table()[name]["config"])


@functools.cache
def _by_id() -> dict[str, str]:
    """Return the name of each shape by the ids of the models that have it, in lower case."""
    return {one.lower(): name for name, shape in table().items() for one in shape["ids"]}
