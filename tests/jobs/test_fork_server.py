"""Jobs forked from one process that has imported what they need: that they are, and that all ends as it should."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import PYTHONPATH, ROOT, Study
from frontier import paths, records
from frontier.jobs import code_digest, fork_client
from job_doubles import EVALUATED, OUTPUTS, Job, inputs_of, job_of, workers

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="forking needs Linux")

# In Snakemake's place: starts what it is told.
SNAKEMAKE = """
import json, os, sys
from job_doubles import Job, start
for line in sys.stdin:
    told = json.loads(line)
    os.environ.update(told["environment"])
    job = Job.__new__(Job)
    vars(job).update(told["job"])
    process = start(job, told["function"])
    print(process.pid, flush=True)
    _, errors = process.communicate()
    print(json.dumps([process.returncode, errors]), flush=True)
"""


class Snakemake:
    """What starts jobs one after the other, and is the owner of their server."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", SNAKEMAKE],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": PYTHONPATH},
        )

    def start(self, job: Job, function: str, **variables: str) -> psutil.Process:
        """The job's supervisor."""
        told = {"job": vars(job), "function": function, "environment": variables}
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        return psutil.Process(int(self.process.stdout.readline()))

    def end(self) -> tuple[int, str]:
        """The exit status of the job's supervisor, and what it wrote to standard error."""
        return tuple(json.loads(self.process.stdout.readline()))


@pytest.fixture(scope="module")
def snakemake(tmp_path_factory):
    one = Snakemake(tmp_path_factory.mktemp("snakemake"))
    yield one
    one.process.kill()
    one.process.wait()


def evaluation(trained: Study, folder: Path, **inputs) -> Job:
    """The evaluation of a base model, with a device if there is one."""
    job = job_of(trained, "evaluation")
    job["request"] |= {"device": "auto"}
    inputs = {key: inputs_of(trained)[key] for key in ("base", "tokens", "model", "proof")} | inputs
    return Job(job, folder, inputs, EVALUATED)


def environment_of(folder: Path) -> dict:
    return records.read_json(folder / "evaluation.json")["environment"]


def soon(find, seconds: float = 60):
    """What `find` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def is_over(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_jobs_of_one_snakemake_have_one_server_which_ends_with_it(trained, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(trained.folder, folder, symlinks=True)
    Study(folder).configure(seeds=[1, 2])
    targets = [f"results/runs/fp32-r4-s{seed}/training.json" for seed in (1, 2)]
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *targets]
    # Longer than the address of a socket may be.
    temporary = tmp_path / ("long" * 30)
    temporary.mkdir()
    with open(tmp_path / "output", "w") as output:
        environment = os.environ | {"TMPDIR": str(temporary)}
        snakemake = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, env=environment)
    seen = {}
    while snakemake.poll() is None:
        seen |= {process: process.parent() for process, _ in workers(folder)}
        time.sleep(0.05)
    assert snakemake.returncode == 0, (tmp_path / "output").read_text()
    assert {records.read_json(folder / target)["environment"]["start"] for target in targets} == {"forked"}
    (server,) = set(seen.values())
    assert len(seen) == 2
    soon(lambda: is_over(server), 5)
    assert not list(temporary.rglob("*.socket"))


def test_code_that_is_edited_meanwhile_is_not_forked(trained, tmp_path):
    """In a folder of a room, as anywhere: the server has imported other code, and the next job starts without it."""
    folder = tmp_path / "study"
    shutil.copytree(trained.folder, folder, symlinks=True)
    Study(folder).configure(seeds=[1, 2])
    targets = [f"results/runs/fp32-r4-s{seed}/training.json" for seed in (1, 2)]
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *targets]
    with open(tmp_path / "output", "w") as output:
        snakemake = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    soon(lambda: workers(folder), 300)
    edited = min(folder.glob("workflow/scripts/frontier/*/*/*.py"))
    edited.write_text(edited.read_text("utf-8") + "# A comment.\n", encoding="utf-8")
    assert snakemake.wait(300) == 0, (tmp_path / "output").read_text()
    found = [records.read_json(folder / target) for target in targets]
    assert sorted(record["environment"]["start"] for record in found) == ["forked", "spawned"]
    assert [record["outcome"]["status"] for record in found] == ["ok", "ok"]


def test_jobs_of_one_server_share_no_environment(trained, tmp_path, snakemake):
    folders = [tmp_path / name for name in ("first", "second")]
    for folder, visible in zip(folders, ("5,7", ""), strict=True):
        folder.mkdir()
        snakemake.start(evaluation(trained, folder), "run.perplexity.evaluate", CUDA_VISIBLE_DEVICES=visible)
        assert snakemake.end()[0] == 0
    first, second = map(environment_of, folders)
    assert first["start"] == second["start"] == "forked"
    assert (first["device_ids"], second["device_ids"]) == ("5", None)


def test_a_bug_in_a_forked_job_is_told_as_any_other(trained, tmp_path, snakemake):
    snakemake.start(evaluation(trained, tmp_path, tokens=str(tmp_path / "missing.parquet")), "run.perplexity.evaluate")
    status, errors = snakemake.end()
    assert status == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("error:")]
    assert line.startswith("error: run.perplexity.evaluate failed: FileNotFoundError")
    assert "Traceback" not in errors
    assert (tmp_path / "job.log").read_text().count("Traceback") == 1


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_forked_job_ends_with_its_supervisor(trained, tmp_path, snakemake, end):
    job = Job(job_of(trained), tmp_path, inputs_of(trained), OUTPUTS, checkpoint_steps=2)
    supervisor = snakemake.start(job, "run.train.train_adapter")
    soon(lambda: list(tmp_path.glob("checkpoints/checkpoint-*/manifest.json")))
    ((worker, _),) = workers(snakemake.folder)
    server = worker.parent()
    supervisor.send_signal(end)
    soon(lambda: is_over(worker), 5)
    assert snakemake.end()[0] != 0
    assert not (tmp_path / "training.json").exists()
    assert server.is_running()


def test_a_server_that_is_killed_costs_the_job_it_ran_and_no_other(trained, tmp_path):
    snakemake = Snakemake(tmp_path)
    try:
        job = Job(job_of(trained), tmp_path, inputs_of(trained), OUTPUTS, checkpoint_steps=2)
        snakemake.start(job, "run.train.train_adapter")
        soon(lambda: list(tmp_path.glob("checkpoints/checkpoint-*/manifest.json")))
        ((worker, _),) = workers(snakemake.folder)
        server = worker.parent()
        server.kill()
        soon(lambda: is_over(worker), 5)
        status, errors = snakemake.end()
        assert status == 1
        assert "run.train.train_adapter was ended by SIGKILL" in errors
        # The next has a server of its own, which does not live to fork it.
        supervisor = snakemake.start(evaluation(trained, tmp_path), "run.perplexity.evaluate")
        (other,) = soon(lambda: [one for one in supervisor.children() if "frontier.jobs.fork_server" in one.cmdline()])
        other.kill()
        assert snakemake.end()[0] == 0
        assert environment_of(tmp_path)["start"] == "spawned"
    finally:
        snakemake.process.kill()
        snakemake.process.wait()


def test_forked_are_the_jobs_that_import_torch():
    called = re.compile(r'^supervise\.run_job\("([\w.]+)\.\w+", snakemake\)$', re.MULTILINE)
    modules = {called.search(path.read_text("utf-8"))[1] for path in paths.SCRIPTS.glob("*.py")}
    heavy = re.compile(r"^(import|from) (torch|transformers)\b", re.MULTILINE)
    reached = {
        name: code_digest.reachable(paths.PACKAGE.joinpath(*name.split(".")).with_suffix(".py")) for name in modules
    }
    expected = {name for name in modules if any(heavy.search(path.read_text("utf-8")) for path in reached[name])}
    assert set(fork_client.MODULES) == {f"frontier.{name}" for name in expected}


@pytest.mark.parametrize("driver", ["contextlib.nullcontext()", "open('missing')", "time.sleep(60)"])
def test_a_server_with_more_imported_takes_over_where_it_can(driver):
    """A driver that tells, one that does not, one that hangs: a server stays where its fork comes to nothing."""
    code = (
        "import contextlib, os, sys, time; from frontier.jobs import fork_server; "
        "from frontier.machine import preload; "
        "preload.preload(['torch']); "
        "fork_server._HAND_OVER_SECONDS = 5; "
        f"preload.capabilities_by_driver = lambda: {driver}; first = os.getpid(); "
        "left = fork_server._hand_over(('wave',)); "
        "os.write(1, f'{os.getpid() == first} {left} {\"wave\" in sys.modules}\\n'.encode())"
    )
    path = {"PYTHONPATH": str(ROOT / "workflow/scripts")}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | path, capture_output=True, text=True)
    tells = driver.startswith("contextlib")
    expected = {"True True False", "False False True"} if tells else {"True False False"}
    assert set(done.stdout.splitlines()) == expected, done.stderr


def test_what_is_imported_beside_cuda_leaves_it_alone():
    """bitsandbytes starts CUDA when it is imported without more ado; peft, accelerate and the Trainer import it."""
    code = (
        "from frontier.machine import preload; preload.preload(preload.WITHOUT_CUDA); import sys; print(*sys.modules)"
    )
    path = {"PYTHONPATH": str(ROOT / "workflow/scripts")}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.split())
    assert {"torch._inductor.compile_fx", "transformers.generation", "datasets"} <= modules
    assert not {"bitsandbytes", "peft", "accelerate", "transformers.trainer"} & modules
