"""What all runs and nodes share is made once, and whole, however many want it at the same moment."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import PYTHONPATH, ROOT
from doors import CPU, fetch
from frontier import paths, records
from frontier.errors import UserError
from frontier.model import bases, cache, sources

RIVALS = 2


def meet(folder: Path, name: str) -> None:
    """Go on when all the rivals are here."""
    (folder / f"{name}-{os.getpid()}").touch()
    while len(list(folder.glob(f"{name}-*"))) < RIVALS:
        time.sleep(0.001)


@contextmanager
def held_by_all(path: Path):
    """A lock of a file system whose locks no other node sees."""
    path.parent.mkdir(parents=True, exist_ok=True)
    yield


def prepare(folder: Path, model: Path, together: bool) -> dict:
    """Quantise a model into a cache in `folder`, at the same moment as the rivals, or surely while they do: `together`.

    Gives the digest of each file of the base, and how often this process quantised.
    """
    import torch

    cache.CACHE = folder / "cache"
    quantised = []
    real = bases._quantize

    def counted(source: Path, *arguments):
        quantised.append(source)
        if together:
            meet(folder, "quantising")
        real(source, *arguments)

    bases._quantize = counted
    record = sources.fetch({"source": "path", "path": str(model)}, {})
    meet(folder, "ready")
    base = bases.convert(record, "nf4", torch.device("cpu"))
    bases.load(base, torch.device("cpu"))
    bases._quantize = real
    files = {path.name: records.file_digest(path) for path in sorted((cache.CACHE / base["folder"]).iterdir())}
    return {"files": files, "quantised": len(quantised)}


def test_base_wanted_by_several_at_once(tiny_model, tmp_path):
    """With locks that work, and with locks that no other node sees."""
    folders = [tmp_path / name for name in ("locked", "blind")]
    command = [sys.executable, __file__, str(tiny_model), *map(str, folders)]
    for folder in folders:
        folder.mkdir()
    rivals = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": PYTHONPATH})
        for _ in range(RIVALS)
    ]
    # One that waits for long says so.
    lines = [rival.communicate(timeout=120)[0].splitlines() for rival in rivals]
    told = [[json.loads(line) for line in said if not line.startswith("waiting for ")] for said in lines]
    assert [rival.returncode for rival in rivals] == [0] * RIVALS
    for folder, (first, second), makers in zip(folders, zip(*told, strict=True), (1, RIVALS), strict=True):
        assert first["files"] == second["files"]
        assert "model.safetensors" in first["files"]
        assert first["quantised"] + second["quantised"] == makers
        # Nothing half-made is left, and nothing beside the one base.
        assert len([path for path in (folder / "cache/bases").iterdir() if path.is_dir()]) == 1


BUILD = """
import os, signal, sys
from pathlib import Path
from frontier.model import cache
cache.CACHE = Path(sys.argv[1])
cache.cached("models/half", lambda into: ((into / "half").write_text("half"), os.kill(os.getpid(), signal.SIGKILL)))
"""


def test_what_a_killed_build_left_goes_a_day_later(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "CACHE", tmp_path / "cache")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow/scripts")}
    for _ in range(2):
        killed = subprocess.run([sys.executable, "-c", BUILD, str(cache.CACHE)], env=environment)
        assert killed.returncode == -signal.SIGKILL
    left, recent = sorted((cache.CACHE / "models").glob(".half-*/"))
    for path in (left, *left.rglob("*")):
        os.utime(path, (0, 0))
    cache.cached("models/whole", lambda into: (into / "file").write_text("whole"))
    assert recent.is_dir()
    assert not left.exists()
    assert (cache.CACHE / "models/whole/file").read_text() == "whole"


if __name__ == "__main__":
    locked, blind = map(Path, sys.argv[2:])
    print(json.dumps(prepare(locked, Path(sys.argv[1]), together=False)))
    cache.file_locks.held = held_by_all
    print(json.dumps(prepare(blind, Path(sys.argv[1]), together=True)))


def test_a_cache_that_cannot_be_written_to_is_one_line(tiny_model, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(cache, "CACHE", tmp_path / "file" / "cache")
    record = fetch(tiny_model)
    with pytest.raises(UserError) as refused:
        bases.convert(record, "nf4", CPU)
    line = str(refused.value)
    assert line.startswith(f"model: models and bases cannot be kept in {tmp_path}/file/cache ([Errno ")
    assert line.endswith("; set FRONTIER_CACHE to a folder that can be written to")


def test_a_base_in_another_cache_is_one_line(own_cache, tiny_model, tmp_path, monkeypatch):
    base = bases.convert(fetch(tiny_model), "nf4", CPU)
    monkeypatch.setattr(cache, "CACHE", tmp_path / "other")
    with pytest.raises(
        UserError, match=r"^model: .*-nf4-\w+ is not there any more; set FRONTIER_CACHE to the cache that"
    ):
        bases.load(base, CPU)


def test_the_variable_moves_the_cache(tmp_path):
    code = "from frontier import paths; print(paths.CACHE)"
    variables = os.environ | {"PYTHONPATH": str(paths.SCRIPTS), paths.CACHE_VARIABLE: "elsewhere"}
    done = subprocess.run([sys.executable, "-c", code], env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path / "elsewhere")
