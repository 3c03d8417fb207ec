"""Record what `spill.Sampler` sees of a real training on a CUDA device that is nearly full.

    python tests/machine/spilling/record.py tests/machine/spilling/traces.json

A neighbour takes the device's memory but for a few GiB, plainly. Then a training that needs more than that is sampled
to its end three times: with room enough, refused what it asks for, and with a driver that moves memory to the host
instead (driver.c, preloaded), as those of Windows and WSL do.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
# GiB that the neighbour leaves, and whether the driver spills.
TRACES = {"room": (14.0, False), "refused": (6.0, False), "spilled": (6.0, True)}
_SECONDS = 25.0
_SHAPE = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
}


def record(leave_gib: float, spills: bool) -> dict:
    """How a training on such a device ended, and its samples, each as (held, allocated, total, free) in GiB.

    One that is not over in time is ended; its status is None.
    """
    with tempfile.TemporaryDirectory() as folder, neighbour(leave_gib):
        # Segments that grow are mapped by the driver's own functions, which are not the ones that driver.c replaces.
        environment = os.environ | {"PYTORCH_ALLOC_CONF": "expandable_segments:False", "HF_HUB_OFFLINE": "1"}
        if spills:
            environment["LD_PRELOAD"] = str(built_driver(Path(folder)))
        command = [sys.executable, __file__, "--train"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    lines = [line for line in done.stdout.splitlines() if line.startswith("TRACE ")]
    if not lines:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(lines[0].removeprefix("TRACE "))


def built_driver(folder: Path) -> Path:
    library = folder / "driver.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "driver.c", "-ldl"], check=True)
    return library


@contextmanager
def neighbour(leave_gib: float):
    """A process that holds all but so many GiB of the device."""
    code = (
        "import sys, torch; torch.zeros(1, device='cuda'); free, _ = torch.cuda.mem_get_info(); "
        "held = torch.empty(free - int(float(sys.argv[1]) * 2**30), dtype=torch.uint8, device='cuda'); "
        "print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(leave_gib)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the device has no room for a neighbour")
        yield
    finally:
        process.stdin.close()
        process.wait()


def train(steps: int = 14) -> None:
    """In a process of its own: train, and print how that ended and what was sampled meanwhile."""
    sys.path[:0] = [str(ROOT / "workflow/scripts"), str(ROOT / "benchmarks")]
    import random
    import threading

    import random_base
    import torch
    from frontier import outcomes
    from frontier.machine.meter import open_meter
    from frontier.machine.spill import Sampler
    from frontier.model.card import Card
    from frontier.model.data.tokens import IGNORED
    from frontier.run import build, fit
    from frontier.run.clock import Clock
    from frontier.study import requests, schema
    from transformers import AutoConfig

    device = torch.device("cuda", 0)
    draw = random.Random(0)
    study = schema.resolve(
        {
            "model": {"source": "architecture", "config": _SHAPE},
            "data": {"source": "reasoning-gym", "train_examples": 8, "validation_examples": 8},
            "steps": steps,
            "batch_size": 8,
        }
        | dict.fromkeys(("gradient_checkpointing", "cuda_graphs", "offload_embeddings"), False)
    )
    request = requests.training_request(study, "fp16-r16-s0")
    examples = []
    for _ in range(steps * study["batch_size"]):
        ids = [draw.randrange(1000) for _ in range(draw.randint(64, 448))]
        examples.append({"input_ids": ids, "labels": [IGNORED] * 32 + ids[32:]})
    meter = open_meter(device)
    # Both threads' handles for products, which no allocator counts, while there is room for them.
    square = torch.ones(64, 64, device=device, dtype=torch.float16, requires_grad=True)
    (square @ square).sum().backward()
    clock, sampler = Clock(request["run"], device), Sampler(meter)

    def tell(status: str | None) -> None:
        told = {"status": status, "device": torch.cuda.get_device_name(), "held": sampler.source}
        told["step_seconds"] = clock.seconds / clock.steps if clock.steps else None
        samples = [[round(value, 3) for value in vars(sample).values()] for sample in sampler.samples]
        print("TRACE", json.dumps(told | {"samples": samples}), flush=True)
        os._exit(0)

    over = threading.Timer(_SECONDS, tell, [None])
    over.daemon = True
    over.start()
    with sampler, tempfile.TemporaryDirectory() as folder:
        try:
            base = random_base.build(AutoConfig.for_model(**_SHAPE), "fp16", device)
            model, levers = build.build_model(base, request, torch.float16, Card(device))
            fit.fit(fit.Run(request, clock, Path(folder)), model, examples, levers["cuda_graphs"])
        except RuntimeError as error:
            outcome = outcomes.from_error(error)
            if outcome is None:
                raise
            tell(outcome["status"])
    tell("ok")


def main() -> None:
    if sys.argv[1] == "--train":
        train()
        return
    found = {}
    for name, how in TRACES.items():
        found[name] = record(*how)
        Path(sys.argv[1]).write_text(json.dumps(found) + "\n", encoding="utf-8")
        print(name, found[name]["status"], len(found[name]["samples"]), found[name]["step_seconds"], flush=True)


if __name__ == "__main__":
    main()
