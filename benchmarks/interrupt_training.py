"""Interruptions of a training by Ctrl-C at random moments: `python benchmarks/interrupt_training.py [COUNT]`.

A tiny model trains through Snakemake. A signal (SIGINT, each fifth time SIGTERM) goes to every process of its group, in
four of five cases at a random moment after the model is loaded, else at one after the job's start, and the same command
is given again, until the count is reached; then the training is left to end. Told are the seconds from signal to
prompt, the steps gone on from, and whether the adapter is that of a training left alone, bit for bit.
"""

import argparse
import random
import re
import shutil
import signal
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

from _path import ROOT

sys.path.insert(0, str(ROOT / "tests"))

import tiny
from conftest import COPIED, Study
from interruptions import FOLDER, TARGET, adapter, interrupt

# The longest wait in seconds before a signal.
LONGEST = 5.0


def study(folder: Path, steps: int) -> Study:
    """A copy of the workflow with one training of the tiny model, all that it needs made."""
    model = tiny.write_model(folder / "model")
    place = folder / "study"
    place.mkdir()
    for name in COPIED:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, place / name)
    for name, seed in (("train", 0), ("validation", 9)):
        tiny.write_sums(place / f"{name}.jsonl", count=40, seed=seed)
    made = Study(place)
    made.configure(model=None, data=None, precisions=["fp32"], ranks=[4], steps=steps, batch_size=8, cpu_threads=1)
    made.configure(
        model={"source": "path", "path": str(model)},
        data={"source": "jsonl", "train_file": "train.jsonl", "validation_file": "validation.jsonl"},
        lora={"dropout": 0.1},
        checkpoint_minutes=None,
    )
    made.run("resources/tokens/tokens.json", "resources/bases/fp32.json")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", nargs="?", type=int, default=50, help="interruptions (default: 50)")
    parser.add_argument("--steps", type=int, default=12_000, help="steps of the training (default: 12000)")
    options = parser.parse_args()
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        made = study(Path(folder), options.steps)
        ends, steps, refused = [], [0], []
        for count in range(options.count):
            number = signal.SIGTERM if count % 5 == 4 else signal.SIGINT
            text = "training on" if draw.random() < 0.8 else ""
            end = interrupt(made, draw.random() * LONGEST, number, text)
            ends.append(end)
            step = re.search(r"goes on from step (\d+)", " ".join(end.stopped))
            steps.append(int(step[1]) if step else steps[-1])
            log = (made.folder / FOLDER / "training.log").read_text("utf-8", "replace")
            sound = end.status != 0 and len(end.stopped) == 1 and "Traceback" not in end.printed + log
            if not sound or steps[-1] < steps[-2]:
                refused.append(count)
                print(f"{end.status}: {end.printed}\n{log}", flush=True)
            print(f"{count + 1}: step {steps[-1]}, {end.seconds:.2f} s, {'ok' if sound else 'NOT OK'}", flush=True)
        made.run(TARGET)
        interrupted = adapter(made)
        shutil.rmtree(made.folder / FOLDER)
        made.run(TARGET)
        seconds = [end.seconds for end in ends]
        print(f"{len(ends)} interruptions, {sum(b > a for a, b in pairwise(steps))} of them after further steps")
        print(f"from signal to prompt: median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s")
        print(f"not ended as promised: {len(refused)}")
        print(f"adapter as that of a training left alone: {'yes' if adapter(made) == interrupted else 'NO'}")
        sys.exit(bool(refused) or adapter(made) != interrupted)


if __name__ == "__main__":
    main()
