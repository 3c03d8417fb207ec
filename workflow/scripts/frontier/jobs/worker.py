"""The process in which a job runs.

It is started as `python -m frontier.jobs.worker ROOM.MODULE.FUNCTION PARENT`, with the job on standard input. Or it is
a fork of a process that has imported its libraries already (`jobs/fork_server.py`), with the same arguments.

Standard output is for people to watch, standard error for the log. Exit status 2 is a UserError, told in one line.
"""

import ctypes
import importlib
import json
import os
import signal
import sys

from frontier.errors import UserError
from frontier.progress import say

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


def main() -> None:
    die_with(int(sys.argv[2]))
    do(sys.argv[1], json.load(sys.stdin))


def do(function: str, job: dict) -> None:
    """Do a job by a function of the package, named ROOM.MODULE.FUNCTION, and end the process."""
    module, _, name = function.rpartition(".")
    try:
        getattr(importlib.import_module(f"frontier.{module}"), name)(job)
    except UserError as error:
        say(f"error: {error}")
        sys.exit(2)
    leave()


def die_with(parent: int) -> None:
    """On Linux, have the kernel end this process when its supervisor dies, however that dies."""
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        # The name that `ps` and `top` show, for want of a command line of its own.
        prctl(_PR_SET_NAME, b"frontier.worker")
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)


def leave() -> None:
    """End the process, its job done, without taking its libraries apart first: seconds that no phase would have."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
