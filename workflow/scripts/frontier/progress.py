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


# Seconds between two lines of progress: often enough to see that a job lives, too seldom to flood a log.
_LINE_SECONDS = 5


def say(line: str) -> None:
    """Print a line for people, at once."""
    print(line, flush=True)


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
            say(line)


def event(**facts) -> None:
    """Tell the supervisor, if there is one, facts for the record that it writes if this process is killed."""
    if EVENTS in os.environ:
        os.write(int(os.environ[EVENTS]), (json.dumps(facts) + "\n").encode())
