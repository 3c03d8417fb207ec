"""What GPUs may be like: hidden, sliced, of no use to torch, too old for bfloat16; taken for that, or one line."""

from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT
from frontier.errors import UserError
from frontier.machine import device, gpus, launch
from frontier.model import dtypes
from frontier.plan.step import emulated_card
from frontier.study import preflight
from frontier.study.schema import resolve
from planned import request


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
