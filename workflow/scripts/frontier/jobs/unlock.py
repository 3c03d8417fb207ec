"""Remove the lock that a killed Snakemake has left in a study's folder: `python -m frontier.jobs.unlock`, there."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import psutil

# The line of Snakemake's log that names the host.
_HOST = re.compile(r"^  Host: (.+)$", re.MULTILINE)
# Characters of a log in which that line is looked for, from the log's start.
_HEADER_CHARACTERS = 2**16


def locks(folder: Path) -> list[Path]:
    """Return the files that lock a study's folder."""
    return sorted((folder / ".snakemake" / "locks").glob("*"))


def is_held(folder: Path) -> bool:
    """Return whether a Snakemake on this host is at work in the folder, as far as its processes are visible."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        names = any(Path(word).name in ("snakemake", "__main__.py") and "snakemake" in word for word in words[:4])
        if (names or words[1:3] == ["-m", "snakemake"]) and process.info["cwd"] == str(folder):
            return True
    return False


def whose(folder: Path) -> str | None:
    """Return the other user or host that has locked the folder, as far as that is known; None where neither is another.

    The lock file tells only the user, its owner. The host is in the log that Snakemake writes while it holds the lock.
    """
    held = locks(folder)
    stranger = next((lock for lock in held if lock.stat().st_uid != os.getuid()), None)
    if stranger:
        return f"user {_owner(stranger)}"
    since = min(lock.stat().st_mtime for lock in held)
    for log in sorted((folder / ".snakemake" / "log").glob("*.log")):
        if log.stat().st_mtime >= since:
            with open(log, encoding="utf-8", errors="replace") as file:
                told = _HOST.search(file.read(_HEADER_CHARACTERS))
            if told and told[1] != platform.node():
                return f"host {told[1]}"
    return None


def main(folder: Path) -> None:
    """Have Snakemake unlock the folder, unless a running Snakemake, another user or another host has the lock."""
    if not locks(folder) or is_held(folder):
        return
    other = whose(folder)
    if other:
        line = f"the lock in .snakemake is that of {other} and stays; snakemake --unlock, once nobody works here"
        print(line, file=sys.stderr)
        return
    print("a Snakemake that is gone left its lock; taking it away", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "snakemake", "--unlock"], check=True, capture_output=True)


def _owner(path: Path) -> str:
    """Return the name of a file's owner; the number of one without a name on this host."""
    try:
        return path.owner()
    except KeyError:
        return str(path.stat().st_uid)


if __name__ == "__main__":
    main(Path.cwd())
