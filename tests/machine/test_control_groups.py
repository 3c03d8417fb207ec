"""What a container may be like: its quota of CPUs and its memory are what a job has, not its host's."""

import os
from pathlib import Path

import psutil
import pytest
import torch
from frontier.machine import control_groups, device
from frontier.plan import calibration


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
