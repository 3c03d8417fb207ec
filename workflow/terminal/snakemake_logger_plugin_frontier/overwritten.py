"""What a dry run would overwrite: the outputs of planned jobs that are there already."""

from logging import LogRecord
from pathlib import Path

from snakemake_interface_logger_plugins.common import LogEvent


class Overwritten:
    """Gathers the planned jobs' outputs, and tells which are there once, before the dry run's last words."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def told(self, record: LogRecord) -> str | None:
        """Return the line to print before a record, if any."""
        if getattr(record, "event", None) == LogEvent.JOB_INFO:
            self._found += [path for path in record.__dict__["output"] if Path(path).exists()]
        elif str(record.msg).startswith("This was a dry-run"):
            return self._line()
        return None

    def _line(self) -> str:
        folders: dict[str, list[str]] = {}
        for path in sorted(set(self._found)):
            folders.setdefault(str(Path(path).parent), []).append(Path(path).name)
        if not folders:
            return "Nothing that is there would be overwritten."
        # A folder's files in braces, as a shell takes them.
        told = (f"{folder}/{names[0] if len(names) == 1 else braced(names)}" for folder, names in folders.items())
        return f"Would be overwritten: {' '.join(told)}"


def braced(names: list[str]) -> str:
    """Return several names as a shell would write them in one word."""
    return "{" + ",".join(names) + "}"
