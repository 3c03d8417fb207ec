"""An attribute of another library, replaced for a while."""

from contextlib import contextmanager


@contextmanager
def replaced(owner, name: str, value):
    """Have `owner`'s attribute `name` be `value` while the block runs; whatever happens there, it is put back."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
