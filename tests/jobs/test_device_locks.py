"""Devices claimed: which a job may have, never two jobs on one, freed by any end; and what a retry is refused."""

import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT
from frontier import progress
from frontier.errors import UserError
from frontier.jobs import device_locks, retries
from frontier.machine import gpus, heap, launch

HOLDER = """
import sys, time
from pathlib import Path
from frontier.jobs import device_locks
def wait(reason):
    sys.exit(reason)
with device_locks.claim({"device": sys.argv[2]}, wait, Path(sys.argv[1])) as claim:
    print(*claim.ids, *claim.visible, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A function that starts a process which claims a device in one folder of locks, and tells its first line."""
    started = []

    def start(visible: str, device: str = "auto", **variables) -> tuple[subprocess.Popen, str]:
        variables |= {"CUDA_VISIBLE_DEVICES": visible, "PYTHONPATH": str(ROOT / "workflow/scripts")}
        command = [sys.executable, "-c", HOLDER, str(tmp_path), device]
        process = subprocess.Popen(
            command, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("variables", "present", "found"),
    [
        ({}, 0, {}),
        ({}, 2, {"0": "0", "1": "1"}),
        ({"CUDA_VISIBLE_DEVICES": ""}, 2, {}),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 2, {}),
        ({"CUDA_VISIBLE_DEVICES": "3, 1"}, 4, {"3": "3", "1": "1"}),
        ({"CUDA_VISIBLE_DEVICES": "2,-1,3"}, 4, {"2": "2"}),
        ({"CUDA_VISIBLE_DEVICES": "MIG-5f"}, 1, {"MIG-5f": "MIG-5f"}),
        ({"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_GPUS": "3"}, 1, {"3": "0"}),
        (
            {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_JOB_GPUS": "0,1,2,3", "SLURM_STEP_GPUS": "2,3"},
            4,
            {"2": "0", "3": "1"},
        ),
        ({"CUDA_VISIBLE_DEVICES": "1", "SLURM_JOB_GPUS": "0,1"}, 2, {"1": "1"}),
    ],
    ids="none two hidden minus-one chosen cut uuid slurm-cgroup slurm-step unlike".split(),
)
def test_what_a_process_may_use(variables, present, found):
    assert gpus.inventory(variables, present) == found


def test_what_a_configuration_wants_of_it():
    found = {"2": "0", "3": "1"}
    assert gpus.wanted("cpu", found) == gpus.wanted("auto", {}) == []
    assert gpus.wanted("auto", found) == gpus.wanted("cuda", found) == ["2", "3"]
    assert gpus.wanted("cuda:1", found) == ["3"]
    for device, there in (("cuda", {}), ("cuda:2", found)):
        with pytest.raises(UserError, match=rf"got {device}, .* may use {len(there)} GPU"):
            gpus.wanted(device, there)


def test_never_two_jobs_on_one_device(holder):
    _, first = holder("7,9")
    _, second = holder("7,9")
    assert {first, second} == {"7 7", "9 9"}
    refused, line = holder("7,9")
    assert line == "waiting for a device: 7, 9 in use"
    assert refused.wait() == 1
    # Under Slurm two jobs of a node both see device 0, and it is not the same one.
    assert holder("0", SLURM_JOB_GPUS="4")[1] == "4 0"
    assert holder("0", SLURM_JOB_GPUS="5")[1] == "5 0"
    assert holder("0", SLURM_JOB_GPUS="4")[1].startswith("waiting")


def test_a_named_device_is_waited_for(holder):
    assert holder("7,9", "cuda:1")[1] == "9 9"
    assert holder("7,9", "cuda:1")[1] == "waiting for a device: 9 in use"
    assert holder("7,9")[1] == "7 7"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_crash_frees_the_claim(holder, end):
    process, line = holder("7")
    assert line == "7 7"
    process.send_signal(end)
    process.wait()
    assert holder("7")[1] == "7 7"


def test_a_worker_that_outlives_its_supervisor_keeps_the_claim(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with device_locks.claim({"device": "auto"}, pytest.fail, tmp_path) as claim:
        worker = subprocess.Popen(["sleep", "60"], pass_fds=claim.locks)
    assert device_locks._lock(["7"], tmp_path, 1) == {}
    worker.kill()
    worker.wait()
    assert list(device_locks._lock(["7"], tmp_path, 1)) == ["7"]


def test_a_folder_that_others_could_write_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(device_locks.tempfile, "tempdir", str(tmp_path))
    folder = device_locks.private_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o770)
    with pytest.raises(UserError, match="yours alone"):
        device_locks.private_folder()
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="yours alone"):
        device_locks.private_folder()


def test_a_job_without_a_device_claims_none(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    for request in ({}, {"device": "cpu"}):
        with device_locks.claim(request, pytest.fail, tmp_path) as claim:
            assert claim is None


def test_the_worker_sees_its_device_alone():
    variables = launch.job_variables({"device": "auto"}, device_locks.Claim(["5"], ["0"], []))
    assert (variables["CUDA_VISIBLE_DEVICES"], variables[progress.DEVICE_IDS]) == ("0", "5")
    assert progress.DEVICE_IDS not in launch.job_variables({"device": "auto"})


def test_only_jobs_on_a_cpu_have_the_c_library_join_what_they_free(monkeypatch):
    monkeypatch.delenv(heap.VARIABLE, raising=False)
    monkeypatch.setattr(gpus, "cuda_devices", lambda: 0)
    assert "tcache_count=0" in launch.job_variables({})[heap.VARIABLE]
    monkeypatch.setattr(gpus, "cuda_devices", lambda: 1)
    assert "tcache_count=0" in launch.job_variables({"device": "cpu"})[heap.VARIABLE]
    on_card = launch.job_variables({"device": "auto"})[heap.VARIABLE]
    assert "trim_threshold" in on_card
    assert "tcache_count" not in on_card
    monkeypatch.setenv(heap.VARIABLE, "glibc.malloc.check=1")
    assert launch.job_variables({"device": "cpu"})[heap.VARIABLE] == "glibc.malloc.check=1"


def test_segments_grow_unless_a_user_or_a_driver_says_otherwise(monkeypatch):
    monkeypatch.setattr(gpus, "may_spill", lambda: False)
    assert launch.allocation({})["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    older = launch.allocation({"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64"})
    monkeypatch.setattr(gpus, "may_spill", lambda: True)
    for chosen in (older, launch.allocation({})):
        assert set(chosen) == {"CUBLAS_WORKSPACE_CONFIG"}


def test_only_what_failed_by_itself_is_not_tried_again(tmp_path, monkeypatch):
    log, line = tmp_path / "training.log", "error: training.run failed: boom"
    monkeypatch.setenv(retries.CALL, "this call")
    log.write_text("a traceback")
    retries.refuse(log, "digest")  # an attempt that was cut off leaves no note
    retries.give_up(log, "digest", line)
    log.write_text("")
    for _ in range(2):
        with pytest.raises(UserError, match=r"^training\.run failed: boom$"):
            retries.refuse(log, "digest")
    assert log.read_text() == "a traceback"
    # Other code or settings are another job, another call of Snakemake begins anew, and so does a job without one.
    retries.refuse(log, "another")
    retries.give_up(log, "digest", line)
    monkeypatch.setenv(retries.CALL, "the next call")
    retries.refuse(log, "digest")
    monkeypatch.delenv(retries.CALL)
    retries.give_up(log, "digest", line)
    retries.refuse(log, "digest")
