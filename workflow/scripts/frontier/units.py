"""Units, and whether a value is there at all."""


def is_there(value) -> bool:
    """Whether a value of a table is there: neither None nor a table's not-a-number."""
    return value is not None and value == value


GIB = 2**30
