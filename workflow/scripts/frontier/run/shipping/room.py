"""What shipping is refused for, room on the disk that is asked for first, and folders named once they are whole."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frontier.errors import UserError
from frontier.units import GIB

# The part of what is to be written that is asked for beside it: headers, and what others write meanwhile.
_SPARE = 1.05


def require_room(folder: Path, needed: float, what: str) -> None:
    """Raise UserError where the disk of a folder has not the bytes that `what` needs; the folder need not be there."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    free = shutil.disk_usage(there).free
    if free < needed * _SPARE:
        raise UserError(
            f"shipping: {what} needs {needed * _SPARE / GIB:.2f} GiB on the disk of {there}, which has "
            f"{free / GIB:.2f} GiB free; make room there"
        )


class Unsuited(UserError):
    """What is asked for does not exist for this model or adapter: of a measured way, a row's reason and no failure."""


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Yield a new folder beside a target, to write into and rename from; it is gone when the block ends."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        yield Path(folder)
