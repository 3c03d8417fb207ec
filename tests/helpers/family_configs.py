"""A tried family's configuration, with changes."""

import copy

from families import configuration
from transformers import AutoConfig


def config_of(family: str, **changes):
    """Return the transformers config of one of `benchmarks/families.py`, with changes."""
    options = copy.deepcopy(configuration(family) | changes)
    return AutoConfig.for_model(options.pop("model_type"), **options)
