"""A job without Snakemake: what it would hand to the job's script, in this process or in one of its own."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
from conftest import PYTHONPATH, RESULTS, Study
from frontier import records
from frontier.jobs import child_process, device_locks, supervise

OUTPUTS = {"training": "training.json", "history": "history.csv", "adapter": "adapter"}
EVALUATED = {"evaluation": "evaluation.json", "losses": "nll.parquet"}
ANSWERED = {"accuracy": "accuracy.json", "answers": "answers.parquet"}


class Params(dict):
    """Snakemake's parameters, as far as a script reads them."""

    @property
    def job(self) -> dict:
        return self["job"]


class Job:
    """Quacks like the `snakemake` of a script: params, input, output and log, made from a record of the same job."""

    def __init__(self, record: dict, folder, inputs: dict, outputs: dict, **limits):
        known = {key: record[key] for key in ("digest", "request", "tracked")}
        self.params = Params(job=known, limits=(record["limits"] or {}) | limits)
        self.input, self.output = inputs, {name: str(folder / file) for name, file in outputs.items()}
        self.log = [str(folder / "job.log")]


def start(job: Job, function: str = "run.train.train_adapter", within=None) -> subprocess.Popen:
    """A supervisor of the job in a process of its own, as Snakemake starts one; `within` the cgroup of a procs file.

    This process stands for Snakemake, so that its jobs are forked from one server; one `within` a cgroup is spawned.
    """
    words = [sys.executable, __file__, function, *(["spawn"] if within else [])]
    process = subprocess.Popen(
        ["sh", "-c", 'echo $$ > "$0"; exec "$@"', within or os.devnull, *words],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
    )
    process.stdin.write(json.dumps(vars(job)))
    process.stdin.close()
    process.stdin = None
    return process


def job_of(study: Study, kind: str = "training") -> dict:
    """The job that Snakemake would hand to the study's one training, its material being there."""
    record = records.read_json(study.folder / f"{RESULTS}/{kind}.json")
    return {key: record[key] for key in ("digest", "request", "tracked", "limits")}


def inputs_of(study: Study) -> dict:
    """The inputs of the study's one training, by the names that its rule has for them."""
    resources = study.folder / "resources"
    return {
        "base": str(resources / "bases/fp32.json"),
        "tokens": str(resources / "tokens/train.parquet"),
        "model": str(resources / "model.json"),
        "material": str(resources / "tokens/tokens.json"),
        "proof": str(resources / "proof.json"),
    }


def workers(folder: Path) -> list[tuple[psutil.Process, str]]:
    """The processes in which the jobs of a folder run, however they began, each with the devices whose locks it has."""
    found = []
    for process in psutil.process_iter():
        try:
            # A fork bears a name, a process of its own the module's in its command line.
            is_worker = process.name() == "frontier.worker" or "frontier.jobs.worker" in process.cmdline()
            if is_worker and process.cwd() == str(folder):
                files = [Path(file.path) for file in process.open_files()]
                ours = [file for file in files if file.parent.name == device_locks.private_folder().name]
                locks = [file.stem for file in ours if file.stem.startswith("device-")]
                found.append((process, ",".join(lock.removeprefix("device-") for lock in locks)))
        except psutil.Error:
            continue
    # A look takes a while: what has ended by now may have a successor in it, what a worker forks is no worker.
    pids = {process.pid for process, _ in found}
    return [one for one in found if one[0].is_running() and _parent(one[0]) not in pids]


def worker_of(folder: Path) -> psutil.Process:
    """The process of the job whose log is in the folder."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for worker, _ in workers(Path.cwd()):
            with suppress(psutil.Error):
                if str(folder / "job.log") in [file.path for file in worker.open_files()]:
                    return worker
        time.sleep(0.02)
    raise AssertionError("no worker was started")


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.Error:
        return None


if __name__ == "__main__":
    told = Job.__new__(Job)
    vars(told).update(json.load(sys.stdin))
    told.params = Params(told.params)
    if not sys.argv[2:]:
        child_process.snakemake_ancestor = supervise.snakemake_ancestor = psutil.Process().parent
    supervise.run_job(sys.argv[1], told)
