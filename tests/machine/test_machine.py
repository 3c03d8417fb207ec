"""What a machine and a shell may be like: each is taken for what it is, or refused in one line that names it."""

import errno
import fcntl
import os
import sys
import tempfile
import threading
from pathlib import Path

import planned
import psutil
import pytest
import torch
import yaml
from conftest import RESULTS, ROOT, Study
from filelock import SoftFileLock
from frontier import records
from frontier.errors import UserError
from frontier.jobs import device_locks, watch
from frontier.machine import control_groups, device, file_locks, gpus, launch, shell
from frontier.model import cache, dtypes
from frontier.plan import calibration
from frontier.plan import table as plan_table
from frontier.plan.planner import Planner
from frontier.plan.step import emulated_card, meta_model
from frontier.study import preflight
from frontier.study.schema import resolve
from job_doubles import OUTPUTS, Job, inputs_of, job_of, start
from planned import request, rows, shape

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


def groups(root: Path, lines: list[str], mounts: list[str], files: dict[str, str]) -> Path:
    """A made-up /proc and /sys: the process's groups, what is mounted where, and the groups' files."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("\n".join(lines) + "\n")
    (root / "proc/self/mountinfo").write_text("\n".join(mounts) + "\n")
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw"
V1 = "31 23 0:27 {} /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "32 23 0:28 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory"
QUOTAS = {
    "container": (["0::/"], [V2], {"sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
    "none": (["0::/"], [V2], {"sys/fs/cgroup/cpu.max": "max 100000"}, None),
    "host": (["0::/"], [V2], {}, None),
    "nested": (
        ["0::/outer/inner"],
        [V2],
        {"sys/fs/cgroup/outer/cpu.max": "150000 100000", "sys/fs/cgroup/outer/inner/cpu.max": "max 100000"},
        1.5,
    ),
    "least": (
        ["0::/outer/inner"],
        [V2],
        {"sys/fs/cgroup/outer/cpu.max": "400000 100000", "sys/fs/cgroup/outer/inner/cpu.max": "50000 50000"},
        1.0,
    ),
    "version 1": (
        ["4:memory:/", "3:cpu,cpuacct:/job"],
        [V1.format("/")],
        {
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "50000",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000",
        },
        0.5,
    ),
    "version 1 in a container that is told its host's name for it": (
        ["3:cpu,cpuacct:/docker/5f", "0::/"],
        [V1.format("/docker/5f"), V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")],
        {
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
        },
        2.5,
    ),
    "outside of what is mounted": (["0::/../../other"], [V2], {"sys/fs/cgroup/cpu.max": "100000 100000"}, 1.0),
    "unreadable": ([], [], {}, None),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_a_containers_quota_bounds_the_threads(tmp_path, monkeypatch, name):
    lines, mounts, files, quota = QUOTAS[name]
    root = groups(tmp_path, lines, mounts, files)
    assert control_groups.cpus(root) == quota
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 4)
    assert device.physical_cores(root) == (4 if quota is None else max(1, int(quota)))


def test_a_machine_without_control_groups_has_all_of_its_cores(tmp_path):
    assert control_groups.cpus(tmp_path) is None
    assert control_groups.memory_bytes(tmp_path) is None


def test_a_containers_memory_is_what_a_plan_for_its_cpu_has(tmp_path, monkeypatch):
    version_1 = {"sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096)}
    free = groups(tmp_path / "free", ["4:memory:/"], [V1_MEMORY], version_1)
    assert control_groups.memory_bytes(free) is None
    files = {"sys/fs/cgroup/memory.max": "max", "sys/fs/cgroup/job/memory.max": str(2**28)}
    bound = groups(tmp_path / "bound", ["0::/job"], [V2], files)
    assert control_groups.memory_bytes(bound) == 2**28
    monkeypatch.setattr(control_groups, "memory_bytes", lambda: 2**28)
    assert calibration.present(torch.device("cpu"))["memory_gib"] == 0.25


@pytest.fixture
def unusable(monkeypatch):
    """A machine that has a GPU's device file, and a torch that cannot use it."""

    def refuse():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nUpdate it")

    monkeypatch.setattr(gpus, "cuda_devices", lambda root=Path("/"): 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", refuse)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_a_gpu_that_torch_cannot_use_is_one_line(unusable, name):
    with pytest.raises(UserError) as refusal:
        device.open_device(name, 1)
    line = str(refusal.value)
    assert line.startswith(
        f"device: got {name}, and torch {torch.__version__} cannot use the GPU (The NVIDIA driver on"
    )
    assert line.endswith("or take device: cpu")
    assert "\n" not in line


@pytest.mark.parametrize("hidden", ["", "-1", "NoDevFiles"])
def test_a_gpu_that_is_hidden_on_purpose_leaves_the_cpu(unusable, monkeypatch, hidden):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert device.open_device("auto", 1).type == "cpu"
    # The C library is then set as for tensors in the host's memory.
    assert "tcache_count=0" in launch.job_variables({"device": "auto"})["GLIBC_TUNABLES"]


def test_names_of_gpus_on_a_machine_without_any_leave_the_cpu(unusable, monkeypatch):
    monkeypatch.setattr(gpus, "cuda_devices", lambda root=Path("/"): 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert device.open_device("auto", 1).type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use the GPU")
def test_a_workflow_never_trains_on_the_cpu_beside_a_gpu(new_study, tmp_path):
    study = new_study(device="auto", precisions=["fp32"], ranks=[4])
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    study.edit(
        "workflow/scripts/frontier/machine/gpus.py", 'root: Path = Path("/")', f'root: Path = Path("{tmp_path}")'
    )
    done = study.snakemake("--cores", "1", "resources/bases/fp32.json")
    assert done.returncode != 0
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: device: got auto, ")]
    assert len(lines) == 1
    assert "Torch not compiled with CUDA" in lines[0] or "driver" in lines[0]


@pytest.mark.parametrize(("capability", "auto"), [((7, 0), "float16"), ((7, 5), "float16"), ((8, 0), "bfloat16")])
def test_plan_and_run_decide_the_compute_type_alike(monkeypatch, capability, auto):
    """torch says of a T4, too, that it has bfloat16, which it emulates."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    card, cuda = emulated_card.EmulatedCard(True, capability), torch.device("cuda")
    for precision in ("fp32", "bf16", "fp16", "nf4", "fp4", "int8"):
        for name in ("auto", "float32", "bfloat16", "float16"):
            wanted = request(precision=precision) | {"compute_dtype": name}
            if capability < (8, 0) and (name == "bfloat16" or (name, precision) == ("auto", "bf16")):
                with pytest.raises(UserError) as planned:
                    card.compute_dtype(wanted)
                with pytest.raises(UserError, match="does not multiply bfloat16; use fp16, or compute_dtype") as run:
                    dtypes.compute_dtype(name, precision, cuda)
                assert str(planned.value) == str(run.value)
            else:
                assert card.compute_dtype(wanted) == dtypes.compute_dtype(name, precision, cuda)
    assert dtypes.compute_dtype("auto", "nf4", cuda) == getattr(torch, auto)


@pytest.fixture
def without_flock(monkeypatch):
    """A file system that takes no locks."""

    def refuse(*arguments):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)


def leave_lock(path: Path) -> None:
    """A lock file as a job of another node leaves it that was killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = SoftFileLock(path)
    with lock:
        text = path.read_text()
    process, host, *rest = text.splitlines()
    path.write_text("\n".join([process, f"not-{host}", *rest]) + "\n")


def test_a_lock_that_a_dead_node_left_is_named_and_waited_for_no_longer_than_so(
    tmp_path, monkeypatch, capsys, without_flock
):
    monkeypatch.setattr(cache, "CACHE", tmp_path)
    monkeypatch.setattr(file_locks, "_TOLD_SECONDS", 0.1)
    monkeypatch.setattr(file_locks, "_LEFT_SECONDS", 0.3)
    lock = tmp_path / "models/.5f.lock"
    leave_lock(lock)
    with pytest.warns(UserWarning, match="flock"), pytest.raises(UserError) as refusal:
        cache.cached("models/5f", pytest.fail)
    assert str(refusal.value).startswith(f"{lock}: which process {os.getpid()} of host not-")
    assert str(refusal.value).endswith("if it is gone, remove the file")
    assert capsys.readouterr().out.startswith(f"waiting for {lock}, which process {os.getpid()} of host not-")
    lock.unlink()
    cache.cached("models/5f", lambda folder: (folder / "made").touch())
    assert (tmp_path / "models/5f/made").is_file()


def test_a_lock_that_another_run_holds_is_waited_for_and_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(file_locks, "_TOLD_SECONDS", 0.05)
    lock = tmp_path / ".lock"
    with open(lock, "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        line = r"\.lock: which another job holds; wait for that job, or end it"
        with pytest.raises(UserError, match=line), file_locks.held(lock, most_seconds=0.2):
            pytest.fail("held by two")
        releasing = threading.Timer(0.3, fcntl.flock, (other, fcntl.LOCK_UN))
        releasing.start()
        with file_locks.held(lock), open(lock) as third, pytest.raises(BlockingIOError):
            fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)
        releasing.join()
    assert capsys.readouterr().out.splitlines() == 2 * [f"waiting for {lock}, which another job holds"]


def test_a_file_system_that_refuses_locks_is_named(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    line = r"\.lock: .*No locks available.*; takes a folder that can be written to, on a file"
    with pytest.raises(UserError, match=line), file_locks.held(tmp_path / ".lock"):
        pytest.fail("held")
    with pytest.raises(UserError, match=r"device-7\.lock: No locks available; .* TMPDIR"):
        device_locks._lock(["7"], tmp_path, 1)


def test_a_cache_that_cannot_be_written_serves_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "CACHE", tmp_path)
    cache.cached("models/there", lambda folder: (folder / "made").touch())
    (tmp_path / "bases").touch()

    def refuse(*arguments):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert cache.cached("models/there", pytest.fail) == "models/there"
    with pytest.raises(
        UserError, match=r"models/\.new\.lock: Read-only file system; takes a folder that can be written"
    ):
        cache.cached("models/new", pytest.fail)
    with pytest.raises(UserError, match=r"^model: models and bases cannot be kept in .*(File exists|Not a dir)"):
        cache.cached("bases/new", pytest.fail)


CUDA = "CUDA_VISIBLE_DEVICES"
SHIPPED = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
# Variables, device files, what the configuration asks for, and what its refusal holds; None where it is accepted.
VISIBLE = [
    ({CUDA: "MIG-5f,MIG-60"}, 1, {"device": "cuda:1"}, None),
    ({CUDA: "MIG-5f,MIG-60"}, 1, {"processes": 2}, None),
    ({CUDA: "MIG-5f,MIG-60"}, 1, {"processes": 4}, "processes: got 4, takes as many GPUs as are there; found 2"),
    ({CUDA: "3"}, 8, {"device": "cuda"}, None),
    ({CUDA: "3"}, 8, {"device": "cuda:1"}, "found 1 GPU"),
    ({CUDA: "3"}, 8, {"processes": 2}, "found 1"),
    ({CUDA: ""}, 8, {"device": "cuda"}, "found 0 GPU"),
    ({CUDA: ""}, 8, {"device": "auto"}, None),
    ({CUDA: "-1"}, 8, {"device": "auto"}, None),
    ({CUDA: "NoDevFiles"}, 8, {"device": "auto"}, None),
    ({CUDA: " 1 , 0 "}, 2, {"device": "cuda:1"}, None),
    ({CUDA: "1,1"}, 2, {"device": "cuda:1"}, "found 1 GPU"),
    ({CUDA: "0,9"}, 2, {"device": "cuda:1"}, "found 1 GPU"),
    ({CUDA: "9"}, 2, {"device": "auto"}, "CUDA_VISIBLE_DEVICES: got 9, which hides every GPU; takes numbers below 2"),
    ({CUDA: "gpu0"}, 2, {"device": "auto"}, "CUDA_VISIBLE_DEVICES: got gpu0, which hides every GPU"),
    ({CUDA: "0,1"}, 0, {"device": "cuda"}, "found 0 GPU"),
    ({CUDA: "9"}, 2, {"device": "cpu"}, None),
]


@pytest.mark.parametrize(("variables", "files", "change", "line"), VISIBLE, ids=[str(one[:3]) for one in VISIBLE])
def test_what_is_visible_is_what_is_counted(tmp_path, monkeypatch, variables, files, change, line):
    monkeypatch.setattr("platform.system", lambda: "Linux")
    (tmp_path / "dev").mkdir()
    for number in range(files):
        (tmp_path / f"dev/nvidia{number}").touch()
    study = resolve(SHIPPED | change)
    if line is None:
        preflight.check_machine(study, tmp_path, variables=variables)
        return
    with pytest.raises(UserError) as refusal:
        preflight.check_machine(study, tmp_path, variables=variables)
    assert line in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_device_that_is_named_twice_is_given_once():
    assert gpus.inventory({CUDA: "1,1"}, 2) == {"1": "1"}


def last_lines(study: Study, python: Path | str = sys.executable, **variables) -> list[str]:
    """What `snakemake -n` prints by this Python, in a shell with these variables."""
    import subprocess

    command = [str(python), "-m", "snakemake", "-n"]
    environment = os.environ | variables
    done = subprocess.run(command, cwd=study.folder, env=environment, capture_output=True, text=True, timeout=600)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]


def test_a_checkout_whose_path_has_a_space(new_study, tmp_path):
    """With .venv inside it is refused before any job, with Python elsewhere it works."""
    study = new_study(precisions=["fp32"], ranks=[4])
    spaced = study.folder.rename(tmp_path / "my studies")
    study = Study(spaced)
    (spaced / ".venv").symlink_to(sys.prefix)
    python = spaced / ".venv/bin" / Path(sys.executable).name
    assert last_lines(study, python)[-1].startswith(
        f"error: python: got {python}, takes a path without spaces and a shell's signs"
    )
    study.run("resources/model.json")


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


def test_eight_bit_optimisers_train_and_are_planned_on_a_cpu(trained, tmp_path):
    known = job_of(trained)
    known["request"]["training"] |= {"optimizer": "adamw_8bit", "steps": 4}
    supervisor = start(Job(known, tmp_path, inputs_of(trained), OUTPUTS))
    assert supervisor.wait(timeout=120) == 0, (tmp_path / "job.log").read_text()
    record = records.read_json(tmp_path / "training.json")
    assert (record["outcome"]["status"], record["outcome"]["steps"]) == ("ok", 4)
    before, after = (
        (folder / "adapter/adapter_model.safetensors").read_bytes() for folder in (trained.folder / RESULTS, tmp_path)
    )
    assert before != after
    planner = Planner(shape(1), rows(8, 16), planned.CPU, None, None, 0.0)
    for name in ("adamw_8bit", "paged_adamw_8bit"):
        table, lines = plan_table.table(planner, [request(precision="fp32", rank=2, optimizer=name)])
        assert (table["predicted_peak_gib"] > 0).all()
        assert lines == []


@pytest.mark.parametrize("name", ["adamw_8bit", "paged_adamw_8bit"])
def test_eight_bit_state_is_planned_as_bitsandbytes_keeps_it_on_a_cpu(name):
    """Matrices under 4,096 elements have state of 32 bits, and no state is paged there."""
    from frontier.run import fit
    from transformers import Trainer

    model = torch.nn.Sequential(*[torch.nn.Linear(size, 1, bias=False) for size in (100, 4095, 4096, 5000)])
    wanted = request(optimizer=name)
    planned = meta_model.optimizer(model, wanted, emulated_card.EmulatedCard(False))
    arguments = fit.trainer_arguments(wanted, torch.device("cpu"), torch.float32, Path("."))
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    real = kind(list(model.parameters()), **options)
    for optimizer in (planned, real):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    for parameter in model.parameters():
        sizes = [
            sorted(
                (key, value.dtype, value.numel())
                for key, value in optimizer.state[parameter].items()
                if torch.is_tensor(value) and not key.startswith("qmap")
            )
            for optimizer in (planned, real)
        ]
        assert sizes[0] == sizes[1]


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
