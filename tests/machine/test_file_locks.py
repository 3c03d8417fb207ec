"""What a file system may be like: without locks, without rights, with a lock that a dead job left."""

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest
from filelock import SoftFileLock
from frontier.errors import UserError
from frontier.jobs import device_locks
from frontier.machine import file_locks
from frontier.model import cache


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
