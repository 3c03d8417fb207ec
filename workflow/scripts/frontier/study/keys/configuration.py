"""All keys of a configuration, in the order of config/config.yaml."""

from collections.abc import Iterator

from frontier.study.keys.data_keys import DATA
from frontier.study.keys.key import Key, Section, Sourced
from frontier.study.keys.model_keys import MODEL
from frontier.study.keys.shipping_keys import SHIPPING
from frontier.study.keys.study_keys import (
    ACCURACY,
    ASK,
    BUDGET,
    CHECKPOINTS,
    CLUSTER,
    DEVICE,
    EVALUATION,
    MERGE,
    PLAN,
    RECOMMEND,
    REPORT_TO,
    SKIP_HOPELESS,
)
from frontier.study.keys.training_keys import GRID, LORA, TRAINING

# The sections that every configuration has, each with the keys of one source.
SOURCED = (MODEL, DATA)
# What may be left out of a configuration.
OPTIONAL: tuple[Key | Section, ...] = (
    *GRID,
    LORA,
    *TRAINING,
    EVALUATION,
    ACCURACY,
    BUDGET,
    *CHECKPOINTS,
    RECOMMEND,
    PLAN,
    ASK,
    SKIP_HOPELESS,
    SHIPPING,
    MERGE,
    REPORT_TO,
    CLUSTER,
    *DEVICE,
)
CONFIGURATION: tuple[Key | Section | Sourced, ...] = (*SOURCED, *OPTIONAL)


def names_of(part: str) -> list[str]:
    """Return the names, without their section's, of the keys that stand in a part of a job's request, in order."""
    return [key.name for key in _all_keys() if key.part == part]


def key_at(place: tuple[str, ...]) -> Key:
    """Return the entry of a key that may be left out, by its name, after that of its section if it is in one."""
    *section, name = place
    entries: tuple = OPTIONAL
    if section:
        entries = next(entry.keys for entry in OPTIONAL if isinstance(entry, Section) and entry.name == section[0])
    return next(entry for entry in entries if entry.name == name)


def _all_keys() -> Iterator[Key]:
    for entry in CONFIGURATION:
        if isinstance(entry, Key):
            yield entry
        elif isinstance(entry, Section):
            yield from entry.keys
        else:
            yield from entry.shared
            for own in entry.sources.values():
                yield from own
