"""Tell configurations apart: what a run is a repeat of, its seed aside. Which axes there are is told here alone."""

from dataclasses import dataclass, fields, replace

import pandas as pd

# The rank of a base model before any training.
BASE_RANK = 0


@dataclass(frozen=True, order=True)
class Configuration:
    """The precision of the frozen base and the rank of the adapter.

    Each field is a column of the summary. A further axis, such as the learning rate, is a further field.
    """

    precision: str
    rank: int

    @classmethod
    def base(cls, precision: str) -> "Configuration":
        """Return the base model at a precision, before any training."""
        return cls(precision, BASE_RANK)

    @classmethod
    def of_row(cls, row) -> "Configuration":
        """Return the configuration of a row of the summary, given as a mapping of its columns."""
        return cls(row["precision"], int(row["rank"]))

    @property
    def is_base(self) -> bool:
        """Whether this is a base model before any training, which has no seed."""
        return self.rank == BASE_RANK

    def at(self, precision: str | None) -> "Configuration":
        """Return the same configuration over a base of another precision."""
        return replace(self, precision=precision)

    def title(self) -> str:
        """Return its name in a sentence: fp16 rank 8."""
        return f"{self.precision} rank {self.rank}"

    def label(self) -> str:
        """Return its name where a colour tells the precision already: r8."""
        return f"r{self.rank}"


AXES = tuple(field.name for field in fields(Configuration))


def axes_but(axis: str) -> list[str]:
    """Return the columns in which two configurations agree that differ in one axis alone."""
    return [name for name in AXES if name != axis]


def configurations_of(table: pd.DataFrame) -> list[Configuration]:
    """Return the configuration of each row of a table that has the summary's columns."""
    return [Configuration.of_row(row) for row in table[[*AXES]].to_dict("records")]


def rows_of(table: pd.DataFrame, configuration: Configuration) -> pd.DataFrame:
    """Return a configuration's rows of a table that has the summary's columns."""
    same = [one == configuration for one in configurations_of(table)]
    return table[pd.Series(same, index=table.index, dtype=bool)]
