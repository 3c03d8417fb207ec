"""Do a job, in the process that was started for it.

The process is `python -m frontier.jobs.worker ROOM.MODULE.FUNCTION PARENT`, with the job on standard input. Or it is a
fork, with the same arguments, of a process that has imported the libraries already (`fork_server`). PARENT is the id of
the process that started or forked it.

What it prints on standard output is shown on the terminal and logged, what it writes to standard error is logged only.
Exit status 2 means a UserError, whose line was printed; 3 means that a training has stopped as it was asked to.
"""

import ctypes
import importlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from frontier.errors import UserError
from frontier.jobs import stopping
from frontier.progress import say

# Options of prctl(2), by linux/prctl.h: the signal at the parent's death, and this process's name.
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def main() -> None:
    """Do the job that standard input holds, by the function that the command line names."""
    # The process that forked this one may ignore it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with(int(sys.argv[2]))
    do(sys.argv[1], json.load(sys.stdin))


def do(function: str, job: Mapping[str, Any]) -> None:
    """Do a job by a function of the package, named ROOM.MODULE.FUNCTION, and end this process."""
    module, _, name = function.rpartition(".")
    try:
        getattr(importlib.import_module(f"frontier.{module}"), name)(job)
    except UserError as error:
        say(f"error: {error}")
        sys.exit(2)
    except stopping.Stopped:
        leave(stopping.STATUS)
    leave()


def die_with(parent: int) -> None:
    """On Linux, have the kernel end this process when `parent`, which started it, dies in whatever way."""
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        # A fork has the command line of the process it was forked from, so it is given a name for `ps` and `top`.
        prctl(_PR_SET_NAME, b"frontier.worker")
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)


def leave(status: int = 0) -> None:
    """End the process at once: an orderly exit would take seconds that no phase of a record counts."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
