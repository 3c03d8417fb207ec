"""Run a job in a process of its own: its output goes to a log, its progress to the terminal, and its end is told."""

import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple, NoReturn

from frontier import checkpoint_files, outcomes, paths
from frontier.errors import UserError
from frontier.jobs import child_process, device_locks, retries, reuse, stopping
from frontier.jobs.child_process import Child, tell
from frontier.jobs.code_digest import code_digest
from frontier.jobs.watch import end_with, kernel_kills, snakemake_ancestor
from frontier.outcome_types import BareOutcome
from frontier.request_types import Job


class Failure(NamedTuple):
    """The end of a job's process where it is no result of the experiment, with one `line` for the user.

    `is_told`: the process has printed the line itself. `is_lasting`: another attempt would end in the same way.
    """

    line: str
    is_told: bool
    is_lasting: bool


def run_job(function: str, snakemake) -> None:
    """Run `frontier.<function>(job)`, named ROOM.MODULE.FUNCTION, in a new process; if it fails, exit with one line.

    `snakemake` is what Snakemake gives a script. The job is plain data: its params, `input` and `output`. What the
    process prints goes to the terminal and the log; what it writes to standard error goes to the log alone. A process
    that the kernel ends for want of memory, or that hangs under a memory budget, has its record written by this one.
    """
    job, log = _job(function, snakemake), Path(snakemake.log[0])
    relay = stopping.Relay(tell)
    kills = kernel_kills()
    try:
        retries.refuse(log, job["digest"])
        if snakemake.params.get("reuse") and (other := reuse.take_over(job)):
            tell(f"{job['request'].get('run') or job['request'].get('name')}: taken over from {other}, the same run")
            return
        with device_locks.claim(job["request"], _waiting()) as device, _opened(log) as file:
            child = Child(function, job, file, device)
            try:
                relay.watch(child.process.pid, deferring="training" in job["output"])
                hung = child.watch()
            finally:
                relay.done()
                child.kill()
                child.forget()
    except UserError as error:
        _exit(f"error: {error}")
    except stopping.Stopped:
        _exit(_stopped(job, log))
    if child.status == stopping.STATUS or (relay.requested and child.status in (-signal.SIGTERM, -signal.SIGKILL)):
        _exit(_stopped(job, log))
    end = ending(job, child, hung, kernel_kills() - kills)
    if isinstance(end, Failure):
        _fail(end, log, job["digest"])
    elif end:
        _record(end, job, child)


def ending(job: Job, child: Child, hung: bool, kills: int) -> BareOutcome | Failure | None:
    """Return what a process's end means: an outcome for the job's record, or a failure; None if the job was done.

    `hung` says that the process was ended since it gave no sign of life, `kills` how many processes the kernel has
    ended for want of memory while the job ran.
    """
    if outcomes.record_of(job["output"]):
        if hung and job["limits"] and job["limits"]["memory_gib"]:
            return outcomes.hung(child.phase, child_process.STALL_SECONDS, job["limits"]["memory_gib"])
        if child.status == -signal.SIGKILL and not hung and kills > 0:
            return outcomes.killed_by_kernel(child.phase, child.most_gib or None)
    if child.status == 2:
        return Failure(child.last_line, is_told=True, is_lasting=True)
    if child.status:
        line = f"error: {child.function} {_death(child.status, hung)}{child.last_error()}; see {child.log}"
        was_cut_off = not hung and child.status in (-signal.SIGKILL, -signal.SIGTERM)
        return Failure(line, is_told=False, is_lasting=not was_cut_off)
    return None


def _stopped(job: Job, log: Path) -> str:
    """Return the line for a job that was stopped from outside: where the same command takes it up again."""
    name = job["request"].get("run") or f"{log.parent.name} {log.stem}"
    step = None
    if "training" in job["output"]:
        folder = Path(job["output"]["training"]).parent / checkpoint_files.FOLDER
        step = checkpoint_files.resumable_step(folder, job["digest"])
    return f"{name}: stopped; the same command " + (f"goes on from step {step}" if step else "starts it again")


def _record(outcome: BareOutcome, job: Job, child: Child) -> None:
    """Write the record of a job whose process was ended before it could."""
    outcomes.discard_tables(job["output"])
    outcomes.write(job | {"material": child.material}, outcome, child.environment)
    tell(f"{outcome['status']}: {outcome['reason']}")


def _fail(failure: Failure, log: Path, identity: str) -> None:
    """Exit as a failed job; if another attempt would end in the same way, have it refused."""
    if failure.is_lasting:
        retries.give_up(log, identity, failure.line)
    _exit(1 if failure.is_told else failure.line)


def _exit(line: str | int) -> NoReturn:
    """Exit as a job that is not done, with a line or, where that is told, a status."""
    child_process.clear_line()
    sys.exit(line)


def _opened(log: Path):
    """Open a job's log; raises UserError where the disk does not let it."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return open(log, "w", encoding="utf-8")
    except OSError as error:
        line = f"{log}: {error.strerror}; takes a folder that can be written to, and room on its disk"
        raise UserError(line) from error


def _job(function: str, snakemake) -> Job:
    """Return the job as plain data, with the digest of the code that will do it."""
    keys = ("limits", "plan", "accuracy", "report_to")
    job = snakemake.params.job | {key: snakemake.params.get(key) for key in keys}
    job |= {"input": _paths(snakemake.input), "output": _paths(snakemake.output)}
    return job | {"code": code_digest(paths.PACKAGE.joinpath(*function.split(".")[:-1]).with_suffix(".py"))}


def _paths(files) -> dict[str | int, str | list[str]]:
    """Return Snakemake's input or output as paths and lists of paths, by name, or by position if they have no names."""
    named = {name: value if isinstance(value, str) else list(value) for name, value in files.items()}
    return named or dict(enumerate(files))


def _waiting():
    """Return a function to call while no device is free: it says so once, sleeps, and exits if Snakemake is gone."""
    snakemake, said = snakemake_ancestor(), set()

    def wait(reason: str) -> None:
        if reason not in said:
            said.add(reason)
            tell(reason)
        end_with(snakemake)
        time.sleep(child_process.WATCH_SECONDS)

    return wait


def _death(status: int, hung: bool) -> str:
    """Return how a process ended, as the predicate of a sentence."""
    if hung:
        return "hung and was ended"
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else "failed"
