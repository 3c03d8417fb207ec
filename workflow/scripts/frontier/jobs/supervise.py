"""Run a job in a process of its own: its output in a log, its progress on the terminal, its death not in silence."""

import signal
import sys
import time
from pathlib import Path

from frontier import outcomes, paths
from frontier.errors import UserError
from frontier.jobs import child_process, device_locks, retries
from frontier.jobs.child_process import Child, tell
from frontier.jobs.code_digest import code_digest
from frontier.jobs.watch import end_with, kernel_kills, snakemake_ancestor


def run_job(function: str, snakemake) -> None:
    """Run `frontier.<function>(job)`, named ROOM.MODULE.FUNCTION, in a new process; where it fails, end with one line.

    `snakemake` is what Snakemake gives a script. The job is plain data: its params, `input` and `output`. What the
    process prints goes to the terminal and the log; what it writes to standard error goes to the log alone. A process
    that the kernel ends for want of memory, or that hangs under a memory budget, leaves its record all the same.
    """
    job = snakemake.params.job | {key: snakemake.params.get(key) for key in ("limits", "plan")}
    job |= {"input": _paths(snakemake.input), "output": _paths(snakemake.output)}
    job["code"] = code_digest(_module_file(function))
    log = Path(snakemake.log[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    kills = kernel_kills()
    try:
        retries.refuse(log, job["digest"])
        with device_locks.claim(job["request"], _waiting()) as device, open(log, "w", encoding="utf-8") as file:
            child = Child(function, job, file, device)
            try:
                hung = child.watch()
            finally:
                child.kill()
    except UserError as error:
        sys.exit(f"error: {error}")
    outcome = None
    if hung and job["limits"] and job["limits"]["memory_gib"]:
        outcome = outcomes.hung(child.phase, child_process.STALL_SECONDS, job["limits"]["memory_gib"])
    elif child.status == -signal.SIGKILL and not hung and kernel_kills() > kills:
        outcome = outcomes.killed_by_kernel(child.phase, child.most_gib or None)
    if outcome and outcomes.record_of(job["output"]):
        outcomes.discard_tables(job["output"])
        outcomes.write(job | {"material": child.material}, outcome, child.environment)
        tell(f"{outcome['status']}: {outcome['reason']}")
    elif child.status == 2:
        retries.give_up(log, job["digest"], child.last_line)
        sys.exit(1)
    elif child.status:
        how = "hung and was ended" if hung else _death(child.status)
        line = f"error: {function} {how}{child.last_error(log)}; see {log}"
        if hung or child.status not in (-signal.SIGKILL, -signal.SIGTERM):
            retries.give_up(log, job["digest"], line)
        sys.exit(line)


def _waiting():
    """What a job does while no device is free: says so once, and ends with Snakemake."""
    snakemake, said = snakemake_ancestor(), set()

    def wait(reason: str) -> None:
        if reason not in said:
            said.add(reason)
            tell(reason)
        end_with(snakemake)
        time.sleep(child_process.WATCH_SECONDS)

    return wait


def _module_file(function: str) -> Path:
    """Return the file of the module that a job's function, named ROOM.MODULE.FUNCTION, stands in."""
    return paths.PACKAGE.joinpath(*function.split(".")[:-1]).with_suffix(".py")


def _death(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else "failed"


def _paths(files) -> dict:
    """Snakemake's named files as a dict of paths and lists of paths; those without a name by their position."""
    named = {name: value if isinstance(value, str) else list(value) for name, value in files.items()}
    return named or dict(enumerate(files))
