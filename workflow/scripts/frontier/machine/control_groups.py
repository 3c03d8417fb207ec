"""What Linux's control groups allow this process: a container or a scheduler's job may use less than its host has.

There are two versions of control groups, and a host may use both. Groups lie in each other; the limits of each group
around this process hold for it, up to the outermost that it sees, so the least of them counts.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

# Bytes. Version 1 states a limit where there is none, its largest number rounded down to whole pages; a limit from here
# on is that one.
_UNLIMITED = 2**62


def cpus(root: Path = Path("/")) -> float | None:
    """Return how many CPUs' time this process may use, say 0.5; None where that is not limited."""
    allowed = []
    for folder in _folders("cpu", root):
        quota, period = [*_words(folder / "cpu.max"), "", ""][:2]
        if not quota:
            quota, period = ("".join(_words(folder / f"cpu.cfs_{name}_us")) for name in ("quota", "period"))
        if quota.isdigit() and period.isdigit() and int(period):
            allowed.append(int(quota) / int(period))
    return min(allowed, default=None)


def memory_bytes(root: Path = Path("/")) -> int | None:
    """Return how many bytes of the host's memory this process may use; None where that is not limited."""
    limits = []
    for folder in _folders("memory", root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limits += [int(word) for word in _words(folder / name) if word.isdigit()]
    return min((limit for limit in limits if limit < _UNLIMITED), default=None)


def _folders(controller: str, root: Path) -> Iterator[Path]:
    """Yield the folder of each group of this process that a controller (cpu, memory) limits, and of each around it."""
    for line in _lines(root / "proc/self/cgroup"):
        controllers, _, group = line.partition(":")[2].partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        for inner, outer, kind, options in _mounts(root):
            if kind != ("cgroup" if controllers else "cgroup2") or (controllers and controller not in options):
                continue
            top = root / outer.lstrip("/")
            # In a container the outermost group that is visible is the container's own, though /proc/self/cgroup may
            # have the host's path of it.
            below = PurePosixPath(group).relative_to(inner) if PurePosixPath(group).is_relative_to(inner) else "."
            folder = top / below
            yield folder
            yield from (parent for parent in folder.parents if parent == top or top in parent.parents)


def _mounts(root: Path) -> Iterator[tuple[str, str, str, list[str]]]:
    """Yield each mount that this process sees: the part that is mounted, where, of which kind, with which options."""
    for line in _lines(root / "proc/self/mountinfo"):
        place, _, kind = line.partition(" - ")
        words, described = place.split(), kind.split()
        if len(words) > 4 and described[0].startswith("cgroup"):
            yield words[3], words[4].replace("\\040", " "), described[0], described[-1].split(",")


def _lines(file: Path) -> list[str]:
    """Return a file's lines; none where it cannot be read."""
    try:
        return file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _words(file: Path) -> list[str]:
    """Return the words of a file of one line; none where it cannot be read."""
    return " ".join(_lines(file)).split()
