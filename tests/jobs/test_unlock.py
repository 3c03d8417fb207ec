"""A lock that is left behind is taken away where it is surely nobody's, and nowhere else."""

import os
import platform

import pytest
from frontier.jobs import unlock


@pytest.fixture
def folder(tmp_path):
    """A folder with a lock of nobody that lives, and with what Snakemake was asked to take away."""
    for name in ("locks/0.input.lock", "log/before.snakemake.log", "log/since.snakemake.log"):
        (tmp_path / ".snakemake" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".snakemake" / name).touch()
    os.utime(tmp_path / ".snakemake/log/before.snakemake.log", (1, 1))
    tell(tmp_path, "since", platform.node())
    return tmp_path


@pytest.fixture
def asked(monkeypatch) -> list:
    calls = []
    monkeypatch.setattr(unlock.subprocess, "run", lambda command, **_: calls.append(command[-1]))
    return calls


def tell(folder, log: str, host: str) -> None:
    path = folder / f".snakemake/log/{log}.snakemake.log"
    dates = path.stat()
    path.write_text(
        f"Assuming something.\n\nSNAKEMAKE\n=========\n  Host: {host}\n  User: somebody\n", encoding="utf-8"
    )
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))


def test_own_lock_is_taken_away(folder, asked, capsys):
    tell(folder, "before", "elsewhere")
    unlock.main(folder)
    assert asked == ["--unlock"]
    assert capsys.readouterr().err == "a Snakemake that is gone left its lock; taking it away\n"


def test_lock_of_another_user_stays(folder, asked, capsys, monkeypatch):
    owner = (folder / ".snakemake/locks/0.input.lock").owner()
    monkeypatch.setattr(unlock.os, "getuid", lambda: 12345)
    unlock.main(folder)
    assert asked == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"the lock in .snakemake is that of user {owner} and stays")


def test_lock_of_another_host_stays(folder, asked, capsys):
    tell(folder, "since", "elsewhere")
    unlock.main(folder)
    assert asked == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("the lock in .snakemake is that of host elsewhere and stays")


def test_no_lock_is_no_matter(folder, asked, capsys):
    (folder / ".snakemake/locks/0.input.lock").unlink()
    unlock.main(folder)
    assert (asked, capsys.readouterr().err) == ([], "")
