"""What a job's process tells: lines for people on standard output, events for its supervisor on a pipe of their own."""

import json
import os

# The variable that says how a job's process came about: `spawned` or `forked`.
START = "FRONTIER_START"
# The variable with the number of the pipe on which a job's process tells its supervisor of events.
EVENTS = "FRONTIER_EVENTS"
# The variable with the names of the devices that a job has claimed, separated by commas.
DEVICE_IDS = "FRONTIER_DEVICE_IDS"


def say(line: str) -> None:
    """Print a line for people, at once."""
    print(line, flush=True)


def event(**facts) -> None:
    """Tell the supervisor, where there is one, what a record should say if this process does not live to write it."""
    if EVENTS in os.environ:
        os.write(int(os.environ[EVENTS]), (json.dumps(facts) + "\n").encode())
