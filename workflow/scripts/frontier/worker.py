"""The process in which a job runs: `python -m frontier.worker MODULE.FUNCTION`, the job as JSON on standard input.

Standard output is for people to watch, standard error for the log. Exit status 2 is a UserError, told in one line.
"""

import importlib
import json
import sys

from frontier.errors import UserError


def main() -> None:
    job = json.load(sys.stdin)
    try:
        module, function = sys.argv[1].split(".")
        getattr(importlib.import_module(f"frontier.{module}"), function)(job)
    except UserError as error:
        print(f"error: {error}", flush=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
