"""Run a job in a process of its own, its output in a log, its progress on the terminal."""

import json
import os
import subprocess
import sys
from pathlib import Path


def run(function: str, snakemake) -> None:
    """Run `frontier.<function>(job)`, named MODULE.FUNCTION, in a new process; where it fails, end with one line.

    `snakemake` is what Snakemake gives a script. The job is plain data: `digest`, `request`, `input`, `output`. What
    the process prints goes to the terminal and the log; what it writes to standard error goes to the log alone.
    """
    job = snakemake.params.job | {"input": _paths(snakemake.input), "output": _paths(snakemake.output)}
    log = snakemake.log[0]
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "frontier.worker", function],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=environment(job["request"]),
        )
        process.stdin.write(json.dumps(job))
        process.stdin.close()
        last = ""
        for line in process.stdout:
            last = line.strip()
            file.write(line)
            file.flush()
            print(last, file=sys.stderr, flush=True)
        status = process.wait()
    if status == 2:
        sys.exit(1)
    if status:
        sys.exit(f"error: {function} ended with status {status}; see {log}")


def _paths(files) -> dict:
    """Snakemake's named files as a dict of paths and lists of paths; those without a name by their position."""
    named = {name: value if isinstance(value, str) else list(value) for name, value in files.items()}
    return named or dict(enumerate(files))


def environment(request: dict) -> dict:
    """The process's environment: one GPU at most, no telemetry, threads left to torch."""
    variables = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    variables["PYTHONPATH"] = str(Path(__file__).parent.parent)
    variables["TOKENIZERS_PARALLELISM"] = "false"
    variables["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # Segments that grow leave fewer holes, and on a small card the holes are what runs out.
    variables.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    visible = variables.get("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7").split(",")
    _, _, index = request.get("device", "").partition(":")
    variables["CUDA_VISIBLE_DEVICES"] = visible[int(index or 0)] if visible != [""] else ""
    return variables
