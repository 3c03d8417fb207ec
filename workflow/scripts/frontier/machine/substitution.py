"""Replace an attribute of another library while a block runs."""

from contextlib import contextmanager


@contextmanager
def replaced(owner, name: str, value):
    """Have `owner`'s attribute `name` be `value` while the block runs; put back what it was, however the block ends."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
