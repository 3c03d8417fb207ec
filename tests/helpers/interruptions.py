"""Interrupt a study's training through Snakemake as a terminal does: a signal to every process of its group."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from conftest import Study

RUN = "fp32-r4-s0"
FOLDER = f"results/runs/{RUN}"
TARGET = f"{FOLDER}/training.json"


@dataclass
class End:
    """How an interrupted call of Snakemake ended: exit status, what it printed, and seconds from the signal on."""

    status: int
    printed: str
    seconds: float

    @property
    def stopped(self) -> list[str]:
        """The lines that say from where the same command goes on."""
        return [line for line in self.printed.splitlines() if "; the same command" in line]


def adapter(study: Study) -> bytes:
    return (study.folder / FOLDER / "adapter/adapter_model.safetensors").read_bytes()


def started(study: Study, target: str = TARGET) -> subprocess.Popen:
    """A call of Snakemake that leads a group of its own, as one on a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", target],
        cwd=study.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(snakemake: subprocess.Popen, log: Path, text: str) -> None:
    """Wait until a job's log has a text, or Snakemake has ended."""
    deadline = time.monotonic() + 120
    while snakemake.poll() is None and not (log.exists() and text in log.read_text("utf-8", "replace")):
        assert time.monotonic() < deadline, f"{log} never said {text!r}"
        time.sleep(0.01)


def interrupt(study: Study, delay: float, number: int = signal.SIGINT, text: str = "training on") -> End:
    """Start the training, and send a signal to all of its group `delay` seconds after its log has a text."""
    log = study.folder / FOLDER / "training.log"
    log.unlink(missing_ok=True)
    snakemake = started(study)
    wait_for(snakemake, log, text)
    time.sleep(delay)
    before = time.monotonic()
    if snakemake.poll() is None:
        os.killpg(snakemake.pid, number)
    printed, _ = snakemake.communicate(timeout=120)
    seconds = time.monotonic() - before
    left = [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(study.folder)]
    # A server that is still importing torch looks for its Snakemake once it has.
    _, alive = psutil.wait_procs(left, timeout=60)
    assert not [one for one in alive if _runs(one)], "a process outlived its Snakemake"
    return End(snakemake.returncode, printed, seconds)


def _runs(process: psutil.Process) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
