"""What a shell may be like: its variables, its alphabet, the paths that it names; none changes a result unsaid."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest
from conftest import RESULTS, Study
from frontier import records
from frontier.errors import UserError
from frontier.jobs import device_locks, watch
from frontier.machine import shell
from frontier.study import preflight
from job_doubles import OUTPUTS, Job, inputs_of, job_of, start

# What other launchers, searches for bugs and modules of a cluster leave behind, a name of each kind.
LEFT_BEHIND = {
    "WORLD_SIZE": "2",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
    "OMPI_COMM_WORLD_SIZE": "2",
    "PMI_RANK": "0",
    "TORCHELASTIC_RUN_ID": "gone",
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "3",
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "1",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_TORCH_DEVICE": "meta",
    "PARALLELISM_CONFIG_TP_SIZE": "2",
    "XLA_USE_BF16": "1",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "OMP_NUM_THREADS": "7",
    "OMP_THREAD_LIMIT": "1",
    "CUDA_LAUNCH_BLOCKING": "1",
    "TORCH_LOGS": "a-name-that-no-log-has",
    "NVIDIA_TF32_OVERRIDE": "1",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "PYTORCH_NO_CUDA_MEMORY_CACHING": "1",
    "TRITON_INTERPRET": "1",
    "PYTHONIOENCODING": "ascii",
    "PYTHONOPTIMIZE": "2",
}


def test_what_a_shell_was_left_with_changes_no_bit(trained, tmp_path, monkeypatch):
    """Before, the training waited for ever for a second process that nobody would start."""
    for name, value in LEFT_BEHIND.items():
        monkeypatch.setenv(name, value)
    supervisor = start(Job(job_of(trained), tmp_path, inputs_of(trained), OUTPUTS), within=os.devnull)
    try:
        assert supervisor.wait(timeout=120) == 0, (tmp_path / "job.log").read_text()
    finally:
        supervisor.kill()
    ours, theirs = (folder / "adapter/adapter_model.safetensors" for folder in (tmp_path, trained.folder / RESULTS))
    assert ours.read_bytes() == theirs.read_bytes()
    assert records.read_json(tmp_path / "training.json")["environment"]["cpu_threads"] == 1


def test_what_reaches_a_job_and_what_does_not():
    kept = "PATH HOME HF_HOME HF_HUB_OFFLINE LD_LIBRARY_PATH TMPDIR CUDA_VISIBLE_DEVICES NCCL_SOCKET_IFNAME".split()
    kept += "CUBLAS_WORKSPACE_CONFIG PYTORCH_ALLOC_CONF KMP_DUPLICATE_LIB_OK MKL_THREADING_LAYER SLURM_JOB_ID".split()
    given = shell.for_jobs(dict.fromkeys([*kept, *LEFT_BEHIND], "1"))
    assert sorted(given) == sorted(kept)


def last_lines(study: Study, python: Path | str = sys.executable, **variables) -> list[str]:
    """What `snakemake -n` prints by this Python, in a shell with these variables."""
    command = [str(python), "-m", "snakemake", "-n"]
    environment = os.environ | variables
    done = subprocess.run(command, cwd=study.folder, env=environment, capture_output=True, text=True, timeout=600)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]


def test_a_checkout_whose_path_has_a_space(new_study, tmp_path):
    """With .venv inside it is refused before any job, with Python elsewhere it works, whatever else is in its name."""
    study = new_study(precisions=["fp32"], ranks=[4])
    spaced = study.folder.rename(tmp_path / "my studies, 100% [é]*?")
    study = Study(spaced)
    (spaced / ".venv").symlink_to(sys.prefix)
    python = spaced / ".venv/bin" / Path(sys.executable).name
    assert last_lines(study, python)[-1].startswith(
        f"error: python: got {python}, takes a path without spaces and a shell's signs"
    )
    study.run("resources/model.json")


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        (
            {"HF_HUB_DOWNLOAD_TIMEOUT": "1m"},
            "HF_HUB_DOWNLOAD_TIMEOUT: got 1m, takes a whole number of seconds; or unset",
        ),
        ({"HF_HUB_ETAG_TIMEOUT": ""}, "HF_HUB_ETAG_TIMEOUT: got , takes a whole number of seconds; or unset it"),
        ({"TMPDIR": "full"}, "TMPDIR: got full, which has no room left; takes a folder of this host that has"),
    ],
)
def test_a_variable_that_would_end_each_job_in_a_traceback_is_one_line(tmp_path, monkeypatch, variables, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Mock(free=4096))
    with pytest.raises(UserError) as refusal:
        preflight.check_python(variables=variables)
    assert str(refusal.value).startswith(line)
    preflight.check_python(variables={"HF_HUB_ETAG_TIMEOUT": " 10 ", "TMPDIR": str(tmp_path / "gone")})


def test_a_path_with_braces_is_one_line(tmp_path):
    """Snakemake fills them in the path of each script."""
    with pytest.raises(UserError, match=r"^folder: got .*a\{b\}, takes a path without braces, which Snakemake fills; "):
        preflight.check_python(project=tmp_path / "a{b}")


def test_modules_that_a_shell_puts_before_the_environments_own(new_study, tmp_path):
    study = new_study()
    (tmp_path / "ours/frontier").mkdir(parents=True)
    (tmp_path / "ours/frontier/__init__.py").write_text("raise ImportError('not the workflow')")
    (tmp_path / "theirs/transformers").mkdir(parents=True)
    other = tmp_path / "theirs/transformers/__init__.py"
    other.touch()
    # Another package of the name of this one is none of the workflow's.
    assert not last_lines(study, PYTHONPATH=str(tmp_path / "ours"))[-1].startswith("error:")
    refused = last_lines(study, PYTHONPATH=os.pathsep.join([str(tmp_path / "ours"), str(tmp_path / "theirs")]))
    assert refused[-1] == (
        f"error: PYTHONPATH: {other} stands in the place of this environment's transformers, whose version the "
        "records would name; unset PYTHONPATH"
    )


def test_a_line_in_another_alphabet_gets_through_a_shell_of_ascii(tmp_path, monkeypatch):
    """PYTHONIOENCODING of a shell made the line an error of its own."""
    for name, value in {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "fragé.jsonl"
    file.write_text('{"question": 1}\n')
    data = {"source": "jsonl", "train_file": str(file), "question_column": "question", "answer_column": "answer"}
    record = {"digest": "", "request": {"data": data}, "tracked": None}
    job = Job(record | {"limits": None}, tmp_path, {}, {"train": "train.jsonl", "examples": "examples.json"})
    supervisor = start(job, "model.prepare.fetch_data", within=os.devnull)
    _, errors = supervisor.communicate(timeout=120)
    assert supervisor.returncode != 0
    log = (tmp_path / "job.log").read_text("utf-8")
    assert "fragé.jsonl" in log
    assert "UnicodeEncodeError" not in log + errors


def test_a_host_that_hides_other_users_processes(monkeypatch):
    class Hidden:
        def cmdline(self):
            raise psutil.AccessDenied(1)

    class Shown:
        def cmdline(self):
            return ["python", "-m", "snakemake"]

    shown = Shown()
    monkeypatch.setattr(psutil.Process, "parents", lambda self: [Hidden(), shown])
    assert watch.snakemake_ancestor() is shown
    monkeypatch.setattr(psutil.Process, "parents", lambda self: [Hidden()])
    assert watch.snakemake_ancestor() is None


def test_a_temporary_folder_that_takes_nothing_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"^TMPDIR: .*; takes a folder of this host that can be written to$"):
        device_locks.private_folder()

    def find_none():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/gone']")

    monkeypatch.setattr(tempfile, "gettempdir", find_none)
    with pytest.raises(UserError, match=r"^TMPDIR: .*No usable temporary directory"):
        device_locks.private_folder()


def test_a_log_that_cannot_be_written_is_one_line(trained, tmp_path):
    (tmp_path / "results").touch()
    job = Job(job_of(trained), tmp_path / "results", inputs_of(trained), OUTPUTS)
    _, errors = (supervisor := start(job)).communicate(timeout=60)
    assert supervisor.returncode == 1
    assert errors.splitlines()[-1].startswith(f"error: {tmp_path}/results/job.log: ")
    assert "Traceback" not in errors
