"""What all runs and nodes share is made once, and whole, however many want it at the same moment."""

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from conftest import ROOT
from frontier import models, records

RIVALS = 2


def prepare(cache: Path, model: Path, go: Path, locks_work: bool) -> dict:
    """Quantise a model into a cache once `go` exists; the digest of each file, and how often this process quantised."""
    import torch

    models.CACHE = cache
    if not locks_work:
        models.FileLock = lambda path: nullcontext()
    quantised = []
    real = models._quantization
    models._quantization = lambda precision: quantised.append(precision) or real(precision)
    record = models.fetch({"source": "path", "path": str(model)}, {})
    (go.parent / f"ready-{os.getpid()}").touch()
    while not go.exists():
        time.sleep(0.001)
    base = models.prepare_base(record, "nf4", torch.device("cpu"))
    models.load(base, torch.device("cpu"))
    files = {path.name: records.file_digest(path) for path in sorted((cache / base["folder"]).iterdir())}
    return {"files": files, "quantised": len(quantised)}


@pytest.mark.parametrize("locks_work", [True, False], ids=["locks", "locks that no other node sees"])
def test_base_wanted_by_several_at_once(tiny_model, tmp_path, locks_work):
    cache, go = tmp_path / "cache", tmp_path / "go"
    paths = os.pathsep.join(str(ROOT / part) for part in ("workflow/scripts", "tests"))
    command = [sys.executable, __file__, str(cache), str(tiny_model), str(go), str(int(locks_work))]
    rivals = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths})
        for _ in range(RIVALS)
    ]
    while len(list(tmp_path.glob("ready-*"))) < RIVALS:
        assert all(rival.poll() is None for rival in rivals)
        time.sleep(0.01)
    go.touch()
    told = [json.loads(rival.communicate(timeout=120)[0].splitlines()[-1]) for rival in rivals]
    assert [rival.returncode for rival in rivals] == [0] * RIVALS
    assert all(one["files"] == told[0]["files"] for one in told)
    assert "model.safetensors" in told[0]["files"]
    assert sum(one["quantised"] for one in told) == 1 if locks_work else sum(one["quantised"] for one in told) > 1
    # Nothing half-made is left, and nothing beside the one base.
    assert len([path for path in (cache / "bases").iterdir() if path.is_dir()]) == 1


if __name__ == "__main__":
    cache, model, go = map(Path, sys.argv[1:4])
    print(json.dumps(prepare(cache, model, go, sys.argv[4] == "1")))
