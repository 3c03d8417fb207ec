"""What a job's process tells meanwhile: lines for people on standard output, events for its supervisor on a pipe."""

import json
import math
import os
import time

# The variable that says how a job's process came about: `spawned` or `forked`.
START = "FRONTIER_START"
# The variable with the number of the pipe on which a job's process tells its supervisor of events.
EVENTS = "FRONTIER_EVENTS"
# The variable with the names of the devices that a job has claimed, separated by commas.
DEVICE_IDS = "FRONTIER_DEVICE_IDS"


# The variable that is set where something else shows a job's progress on the terminal: lines that are passing go to the
# log alone, and `in place` says that a line of the terminal is written anew again and again.
TERMINAL = "FRONTIER_TERMINAL"
IN_PLACE = "in place"
# What a passing line begins with on its way to the supervisor.
_PASSING = "\x1f"


# Seconds between two lines of progress: often enough to see that a job lives, too seldom to flood a log.
_LINE_SECONDS = 5


def say(line: str, passing: bool = False) -> None:
    """Print a line for people, at once; one that is `passing` matters only until the next comes."""
    print((_PASSING if passing and EVENTS in os.environ else "") + line, flush=True)


def received(line: str) -> tuple[str, bool]:
    """Return a line as it was said, of what a supervisor reads, and whether it is passing."""
    return line.removeprefix(_PASSING), line.startswith(_PASSING)


class Pacer:
    """Prints lines of progress, one every five seconds at the most, and leaves out the others.

    With `first_at_once` the first line is printed whenever it comes, else not before five seconds have passed.
    """

    def __init__(self, first_at_once: bool = False):
        self._last = -math.inf if first_at_once else time.monotonic()

    def tell(self, line: str, is_last: bool) -> None:
        """Print a line if none was printed for five seconds, or if it `is_last`, the last one that there will be."""
        if is_last or time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic()
            say(line, passing=True)


def event(**facts) -> None:
    """Tell the supervisor, if there is one, facts for the record that it writes if this process is killed."""
    if EVENTS in os.environ:
        os.write(int(os.environ[EVENTS]), (json.dumps(facts) + "\n").encode())
