"""Take away the lock that a killed Snakemake left behind: `python -m frontier.unlock`, in the study's folder."""

import subprocess
import sys
from pathlib import Path

import psutil


def is_locked(folder: Path) -> bool:
    return any((folder / ".snakemake" / "locks").glob("*"))


def is_held(folder: Path) -> bool:
    """Whether a live Snakemake works in the folder."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        names = any(Path(word).name in ("snakemake", "__main__.py") and "snakemake" in word for word in words[:4])
        if (names or words[1:3] == ["-m", "snakemake"]) and process.info["cwd"] == str(folder):
            return True
    return False


if __name__ == "__main__" and is_locked(Path.cwd()) and not is_held(Path.cwd()):
    print("a Snakemake that is gone left its lock; taking it away", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "snakemake", "--unlock"], check=True, capture_output=True)
