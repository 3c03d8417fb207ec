"""Stop jobs on Ctrl-C or SIGTERM so that a training loses no step that has ended, in each of the processes concerned.

Snakemake (`stop_jobs_on_signal`) starts no further job, sends SIGTERM to its jobs and waits for them. A job's
supervisor (`Relay`) hands the signal on to the worker. A worker that trains (`Stop`) takes note of it, ends its step
and saves a checkpoint; any other worker is ended by the signal itself.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

# The variable that says, in Snakemake's own process, that jobs that end now were stopped: so what shows them on the
# terminal hears of that before it hears of a job's end.
STOPPING = "FRONTIER_STOPPING"
# The exit status of a worker that has stopped as it was asked to, its checkpoint written.
STATUS = 3
# What a job's shell does before it becomes the job: both signals are ignored until the supervisor handles them, since
# Python, while it starts, would answer them with a traceback. Nothing is lost: Snakemake repeats the second.
SHELL_PREFIX = "trap '' INT TERM; exec "
# Seconds after which Snakemake sends the signal once more to jobs that are still there.
_REPEAT_SECONDS = 0.5


class Stopped(Exception):
    """A job was asked to stop, and has: a training after a step, from which it can go on."""


class Stop:
    """Whether a worker was asked to stop, by SIGTERM.

    Before `defer` the signal ends the process, since there is nothing yet that a checkpoint could keep.
    """

    def __init__(self):
        self.requested = False

    def defer(self) -> None:
        """From now on, do not end on SIGTERM but take note of it, until the process has left its record and ends."""
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, number, frame) -> None:
        self.requested = True


class Relay:
    """A supervisor's answer to SIGINT and SIGTERM: it is handed on to the worker, and `requested` is set.

    A second SIGINT ends the worker at once. Before there is a worker, `Stopped` is raised once, wherever this process
    is; after that, and once the worker has ended, nothing is done.
    """

    def __init__(self, tell: Callable[[str], None]):
        self.requested = False
        self._tell, self._interrupts, self._deferring = tell, 0, False
        self._pid: int | None = None
        self._is_over = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._answer)

    def watch(self, pid: int, deferring: bool) -> None:
        """Hand signals on to the worker `pid`, which leads its group; `deferring` says that it may end its step."""
        self._pid, self._deferring = pid, deferring

    def done(self) -> None:
        """Hand nothing on any more: the worker has ended."""
        self._is_over = True

    def _answer(self, number: int, frame) -> None:
        first, self.requested = not self.requested, True
        self._interrupts += number == signal.SIGINT
        if self._is_over:
            return
        if self._pid is None:
            # Snakemake repeats its signal, which must not break off what follows from the first.
            self._is_over = True
            raise Stopped
        with suppress(ProcessLookupError, PermissionError):
            if self._interrupts > 1:
                os.killpg(self._pid, signal.SIGKILL)
            else:
                if first and self._deferring:
                    self._tell("stopping once this step has ended; Ctrl-C again stops at once")
                os.kill(self._pid, signal.SIGTERM)


def stop_jobs_on_signal() -> None:
    """Have this process, a Snakemake whose jobs run on this machine, stop them on SIGINT or SIGTERM and then end.

    To be called when Snakemake has set its own answer to SIGTERM, which is to start no further job and to wait for
    those that run. A second SIGINT is Snakemake's to answer, as it is without this.
    """
    finish = signal.getsignal(signal.SIGTERM)
    if not callable(finish):
        return

    def answer(number: int, frame) -> None:
        os.environ[STOPPING] = "1"
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

        def end() -> None:
            # In a thread, since Snakemake's answer takes a lock that the interrupted code may hold.
            finish(number, frame)
            _end_children()

        threading.Thread(target=end, daemon=True).start()

    signal.signal(signal.SIGINT, answer)
    signal.signal(signal.SIGTERM, answer)


def _end_children() -> None:
    """Send SIGTERM to this process's children until there are none.

    They are not waited for: that would take their exit status from Snakemake, to which they would have ended well.
    """
    while children := psutil.Process().children():
        for child in children:
            with suppress(psutil.Error):
                child.terminate()
        time.sleep(_REPEAT_SECONDS)
