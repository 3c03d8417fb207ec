"""The unit of memory, and whether a value is there at all."""

from typing import TypeGuard, TypeVar

Value = TypeVar("Value")
# Bytes in a GiB, the unit of every amount of memory that a user sees.
GIB = 2**30


def is_there(value: Value | None) -> TypeGuard[Value]:
    """Return whether a value of a table is there: neither None nor a table's not-a-number."""
    return value is not None and value == value
