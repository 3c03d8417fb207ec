"""What the entries of a configuration are made of: keys, sections of keys, and sections with a source."""

from dataclasses import dataclass
from typing import Any

from frontier.study.keys.kinds import Kind

# The default of a key that has none: a configuration must give it.
REQUIRED: Any = object()


@dataclass(frozen=True)
class Key:
    """A key of a configuration.

    `default` is what a key that is left out is completed with; a key without one is required. `buys` is what a user
    gets or pays for a value: the comment beside the key in config/config.yaml, and a column of config/README.md.
    `part` is the part of a job's request that lists the key by itself: "training" for the settings of a training,
    "tokens" for what examples are tokenised by, "test" for where test problems are read from.
    """

    name: str
    kind: Kind
    default: Any = REQUIRED
    buys: str = ""
    part: str = ""

    @property
    def is_required(self) -> bool:
        return self.default is REQUIRED


@dataclass(frozen=True)
class Section:
    """Keys under one name, which may all be left out; `takes` and `buys` are as a key's."""

    name: str
    takes: str
    keys: tuple[Key, ...]
    buys: str = ""


@dataclass(frozen=True)
class Sourced:
    """A section whose key `source` decides which other keys there are: `sources` has those of each source.

    `shared` are the keys of every source, unless the source has one of that name as its own.
    """

    name: str
    takes: str
    sources: dict[str, tuple[Key, ...]]
    shared: tuple[Key, ...] = ()
    buys: str = ""

    def keys_of(self, source: str) -> tuple[Key, ...]:
        """Return the keys that the section has beside `source`: the source's own, then the shared ones."""
        own = self.sources[source]
        names = {key.name for key in own}
        return own + tuple(key for key in self.shared if key.name not in names)
