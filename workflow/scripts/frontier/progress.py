"""What a job's process tells: lines for people on standard output, events for its supervisor on a pipe of their own."""

import json
import os

# The variable that says how the process came about: spawned or forked.
START = "FRONTIER_START"
EVENTS = "FRONTIER_EVENTS"


def say(line: str) -> None:
    print(line, flush=True)


def event(**facts) -> None:
    """Tell the supervisor, where there is one, what a record should say if this process does not live to write it."""
    if EVENTS in os.environ:
        os.write(int(os.environ[EVENTS]), (json.dumps(facts) + "\n").encode())


DEVICE_IDS = "FRONTIER_DEVICE_IDS"
