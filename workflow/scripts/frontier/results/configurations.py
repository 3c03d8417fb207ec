"""Tell configurations apart: what a run is a repeat of, its seed aside. Which axes there are is told here alone."""

from dataclasses import dataclass, replace

import pandas as pd

from frontier import axes
from frontier.units import is_there

# The rank of a base model before any training.
BASE_RANK = 0
# The columns of every configuration; those of `_FURTHER` that a table has follow them.
_ALWAYS = ("precision", "rank")
_RATE = "learning_rate"
# The column of a table of several studies that tells where a run was made, if that is to tell configurations apart.
ON = "on"
_FURTHER = (*axes.TAGS, ON)


@dataclass(frozen=True, order=True)
class Configuration:
    """The precision of the frozen base, the rank of the adapter, and what else a study tried several values of.

    `learning_rate` is None for a base model, for a row of a table that does not tell it, and for an arm, which stands
    for the configurations that differ in their rate alone. `others` has each further axis with its value as
    `axes.text` writes it.
    """

    precision: str
    rank: int
    learning_rate: float | None = None
    others: tuple[tuple[str, str], ...] = ()

    @classmethod
    def base(cls, precision: str) -> "Configuration":
        """Return the base model at a precision, before any training."""
        return cls(precision, BASE_RANK)

    @classmethod
    def of_row(cls, row) -> "Configuration":
        """Return the configuration of a row of the summary, given as a mapping of its columns."""
        others = ((name, row.get(name)) for name in _FURTHER if name != _RATE)
        rate = row.get(_RATE)
        return cls(
            row["precision"],
            int(row["rank"]),
            float(rate) if is_there(rate) else None,
            tuple((name, axes.text(value)) for name, value in others if is_there(value)),
        )

    @property
    def is_base(self) -> bool:
        """Whether this is a base model before any training, which has no seed."""
        return self.rank == BASE_RANK

    @property
    def arm(self) -> "Configuration":
        """The configuration without its learning rate: what is compared, each at the best of its rates."""
        return replace(self, learning_rate=None)

    def at(self, precision: str | None) -> "Configuration":
        """Return the same configuration over a base of another precision."""
        return replace(self, precision=precision)

    def title(self) -> str:
        """Return its name in a sentence: fp16 rank 8 at 2e-3, alpha 16."""
        rate = "" if self.learning_rate is None else f" at {axes.text(self.learning_rate)}"
        return f"{self.precision} rank {self.rank}{rate}{''.join(f', {name} {value}' for name, value in self.others)}"

    def label(self) -> str:
        """Return its name where a colour tells the precision already: r8."""
        return f"r{self.rank}{''.join(f' {value}' for _, value in self.others)}"


def axes_of(table: pd.DataFrame) -> list[str]:
    """Return the columns of a table that tell its configurations apart."""
    return [*_ALWAYS, *(name for name in _FURTHER if name in table and table[name].notna().any())]


def axes_but(table: pd.DataFrame, axis: str) -> list[str]:
    """Return the columns in which two configurations of a table agree that differ in one axis alone."""
    return [name for name in axes_of(table) if name != axis]


def configurations_of(table: pd.DataFrame) -> list[Configuration]:
    """Return the configuration of each row of a table that has the summary's columns."""
    return [Configuration.of_row(row) for row in table[axes_of(table)].to_dict("records")]


def rows_of(table: pd.DataFrame, configuration: Configuration) -> pd.DataFrame:
    """Return a configuration's rows of a table that has the summary's columns; of an arm those of all its rates."""
    is_arm = configuration.learning_rate is None
    same = [(one.arm if is_arm else one) == configuration for one in configurations_of(table)]
    return table[pd.Series(same, index=table.index, dtype=bool)]


def rows_by_configuration(table: pd.DataFrame) -> dict[Configuration, pd.DataFrame]:
    """Return the rows of each configuration of a table that has the summary's columns."""
    places: dict[Configuration, list[int]] = {}
    for place, one in enumerate(configurations_of(table)):
        places.setdefault(one, []).append(place)
    return {one: table.iloc[some] for one, some in places.items()}
