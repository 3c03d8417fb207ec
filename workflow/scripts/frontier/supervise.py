"""Run a job in a process of its own: its output in a log, its progress on the terminal, its death not in silence."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

from frontier import devices, forked, launch, outcomes, progress, retries, worker
from frontier.digest import code_digest
from frontier.errors import UserError
from frontier.forked import Forked

STALL_SECONDS = 180
_WATCH_SECONDS = 0.5


def run(function: str, snakemake) -> None:
    """Run `frontier.<function>(job)`, named MODULE.FUNCTION, in a new process; where it fails, end with one line.

    `snakemake` is what Snakemake gives a script. The job is plain data: its params, `input` and `output`. What the
    process prints goes to the terminal and the log; what it writes to standard error goes to the log alone. A process
    that the kernel ends for want of memory, or that hangs under a memory budget, leaves its record all the same.
    """
    job = snakemake.params.job | {key: snakemake.params.get(key) for key in ("limits", "plan")}
    job |= {"input": _paths(snakemake.input), "output": _paths(snakemake.output)}
    job["code"] = code_digest(f"frontier/{function.partition('.')[0]}")
    log = Path(snakemake.log[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    kills = kernel_kills()
    try:
        retries.refuse(log, job["digest"])
        with devices.claim(job["request"], _waiting()) as device, open(log, "w", encoding="utf-8") as file:
            child = Child(function, job, file, device)
            try:
                hung = child.watch()
            finally:
                child.kill()
    except UserError as error:
        sys.exit(f"error: {error}")
    outcome = None
    if hung and job["limits"] and job["limits"]["memory_gib"]:
        outcome = outcomes.hung(child.phase, STALL_SECONDS, job["limits"]["memory_gib"])
    elif child.status == -signal.SIGKILL and not hung and kernel_kills() > kills:
        outcome = outcomes.killed_by_kernel(child.phase, child.most_gib or None)
    if outcome and outcomes.record_of(job["output"]):
        outcomes.discard_tables(job["output"])
        outcomes.write(job | {"material": child.material}, outcome, child.environment)
        _tell(f"{outcome['status']}: {outcome['reason']}")
    elif child.status == 2:
        retries.give_up(log, job["digest"], child.last_line)
        sys.exit(1)
    elif child.status:
        how = "hung and was ended" if hung else _death(child.status)
        line = f"error: {function} {how}{child.last_error(log)}; see {log}"
        if hung or child.status not in (-signal.SIGKILL, -signal.SIGTERM):
            retries.give_up(log, job["digest"], line)
        sys.exit(line)


class Child:
    """A job's process, and what it has told so far."""

    def __init__(self, function: str, job: dict, log, device: devices.Claim | None = None):
        (stdin, told), (lines, stdout), (events, telling) = os.pipe(), os.pipe(), os.pipe()
        files = [stdin, stdout, log.fileno(), telling, *(device.locks if device else [])]
        self.process = start(function, launch.environment(job["request"], device), files)
        for file in (stdin, stdout, telling):
            os.close(file)
        self.phase, self.most_gib, self.last_line = "import", 0.0, ""
        self.environment = self.material = None
        self._readers = [
            threading.Thread(target=self._read_lines, args=[os.fdopen(lines), log], daemon=True),
            threading.Thread(target=self._read_events, args=[os.fdopen(events)], daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        # One that has ended by now, by the kernel say, has a status to tell of it.
        with suppress(BrokenPipeError), os.fdopen(told, "w") as pipe:
            json.dump(job, pipe)

    @property
    def status(self) -> int | None:
        return self.process.returncode

    def watch(self) -> bool:
        """Wait for the end; True where the process showed no sign of life and was ended. Ends with Snakemake.

        What it waits for (a download, a planner, a training's other processes) is alive for it.
        """
        snakemake = _snakemake_ancestor()
        alive_at, signs = time.monotonic(), None
        while self.process.poll() is None:
            _end_with(snakemake)
            try:
                process = psutil.Process(self.process.pid)
                # The last would be 0: one that the kernel kills holds nothing while it is taken apart.
                self.most_gib = max(self.most_gib, process.memory_info().rss / outcomes.GIB)
                now = {one.pid: _signs_of_life(one) for one in [process, *process.children(recursive=True)]}
            except psutil.Error:
                continue
            if now != signs:
                alive_at, signs = time.monotonic(), now
            elif time.monotonic() - alive_at > STALL_SECONDS:
                self.kill()
                return True
            # Not asleep: the next job waits for this one's end.
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_WATCH_SECONDS)
        # What it has started may still hold its output, whose end the readers wait for.
        self.kill()
        for reader in self._readers:
            reader.join()
        return False

    def kill(self) -> None:
        """End the process and with it all that it has started: they are the group of the session that it leads."""
        # macOS forbids it where all of them are zombies.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.poll() is None:
            # One just forked does not lead its session yet.
            self.process.kill()
            self.process.wait()

    def last_error(self, log: Path) -> str:
        """The last line of a traceback in the log, to say in one line what its many say."""
        lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        return f": {lines[-1]}" if self.status == 1 and lines else ""

    def _read_lines(self, pipe, log) -> None:
        for line in pipe:
            log.write(line)
            log.flush()
            self.last_line = line.rstrip()
            _tell(self.last_line)

    def _read_events(self, pipe) -> None:
        for line in pipe:
            facts = json.loads(line)
            self.phase = facts.get("phase", self.phase)
            self.environment = facts.get("environment", self.environment)
            self.material = facts.get("material", self.material)


def start(function: str, variables: dict, files: list[int]) -> subprocess.Popen | Forked:
    """A worker in a session of its own: forked where that spares imports, else a new process.

    `files` are its standard input, output and error, its events' pipe, and what else it is to hold.
    """
    snakemake = _snakemake_ancestor()
    with suppress(OSError, UserError, psutil.Error):
        if forked.is_worth_it(function, snakemake):
            return Forked(function, variables, files, snakemake)
    return subprocess.Popen(
        [sys.executable, "-m", "frontier.worker", function, str(os.getpid())],
        stdin=files[0],
        stdout=files[1],
        stderr=files[2],
        env=variables | {progress.EVENTS: str(files[3]), worker.START: "spawned"},
        pass_fds=files[3:],
        start_new_session=True,
    )


def _tell(line: str) -> None:
    """Show a line to whoever watches; where the terminal is gone, nobody does, and the job goes on."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def kernel_kills() -> int:
    """How many processes the kernel has ended for want of memory, by its own counters: this cgroup's and all."""
    total = 0
    files = [Path("/proc/vmstat")]
    cgroup = Path("/proc/self/cgroup")
    if cgroup.exists():
        for line in cgroup.read_text("utf-8").splitlines():
            files.append(Path("/sys/fs/cgroup") / line.split(":", 2)[2].lstrip("/") / "memory.events")
    for file in files:
        if file.exists():
            total += sum(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith("oom_kill "))
    return total


def _snakemake_ancestor() -> psutil.Process | None:
    """The Snakemake that this job runs under: its death does not reach us through the shells between."""
    for process in psutil.Process().parents():
        if any(Path(word).name == "snakemake" or word == "snakemake" for word in process.cmdline()[:4]):
            return process
    return None


def _signs_of_life(process: psutil.Process) -> tuple | None:
    """What moves while a process does anything; None for one that is gone, or another user's."""
    with suppress(psutil.Error), process.oneshot():
        return process.cpu_times()[:2], process.io_counters()[:4] if hasattr(process, "io_counters") else ()
    return None


def _end_with(snakemake: psutil.Process | None) -> None:
    if snakemake is not None and not _is_alive(snakemake):
        sys.exit("error: Snakemake is gone; ending its job")


def _is_alive(process: psutil.Process) -> bool:
    """A process that has ended and whose parent does not care to know is still there for psutil."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _waiting():
    """What a job does while no device is free: says so once, and ends with Snakemake."""
    snakemake, said = _snakemake_ancestor(), set()

    def wait(reason: str) -> None:
        if reason not in said:
            said.add(reason)
            _tell(reason)
        _end_with(snakemake)
        time.sleep(_WATCH_SECONDS)

    return wait


def _death(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else "failed"


def _paths(files) -> dict:
    """Snakemake's named files as a dict of paths and lists of paths; those without a name by their position."""
    named = {name: value if isinstance(value, str) else list(value) for name, value in files.items()}
    return named or dict(enumerate(files))
