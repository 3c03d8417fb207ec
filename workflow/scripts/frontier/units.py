"""The unit of memory, and whether a cell of a table has a value."""

from typing import TypeGuard, TypeVar

Value = TypeVar("Value")
# Bytes in a GiB, the unit of every amount of memory that a user sees.
GIB = 2**30


def is_there(value: Value | None) -> TypeGuard[Value]:
    """Return whether a cell of a table has a value: it is neither None nor NaN, which pandas reads an empty cell as."""
    return value is not None and value == value
