"""Measure the memory that merging takes beside the file that is being written, on layers as wide as a 7B model's.

    python benchmarks/measure_merging.py [--layers 4] [--folder /tmp]

Writes a Llama of 7B's width with random weights and an adapter of rank 16, merges them, and prints the most anonymous
memory of the process beside what it held before, the largest file written, and a layer's weights in float32, in MiB.
"""

import argparse
import shutil
import tempfile
import threading
import time
from pathlib import Path

import _path  # noqa: F401
import torch
from frontier import records
from frontier.run.shipping import merging
from frontier.run.shipping.adapter import Adapter
from safetensors.torch import save_file

WIDTH, INNER, VOCABULARY, RANK = 4096, 11008, 32000, 16
SHAPES = {
    **{f"self_attn.{name}_proj": (WIDTH, WIDTH) for name in "qkvo"},
    **{f"mlp.{name}_proj": (INNER, WIDTH) for name in ("gate", "up")},
    "mlp.down_proj": (WIDTH, INNER),
}
MIB = 2**20


def anonymous() -> int:
    """The process's own memory in bytes, without pages of files."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def write_base(folder: Path, layers: int) -> dict[str, tuple[int, int]]:
    """Write the weights, a file a layer, and return each layer's shape by its name."""
    folder.mkdir()
    names = {f"model.layers.{layer}.{name}": shape for layer in range(layers) for name, shape in SHAPES.items()}
    files: dict[str, dict[str, tuple[int, int]]] = {"ends": {}}
    for name, shape in names.items():
        files.setdefault(name.split(".")[2], {})[name] = shape
    files["ends"] = {"model.embed_tokens": (VOCABULARY, WIDTH), "lm_head": (VOCABULARY, WIDTH)}
    places = {}
    for file, held in files.items():
        save_file(
            {
                f"{name}.weight": torch.empty(shape, dtype=torch.float16).normal_(0, 0.02)
                for name, shape in held.items()
            },
            folder / f"{file}.safetensors",
        )
        places |= {f"{name}.weight": f"{file}.safetensors" for name in held}
    records.write_json(folder / "model.safetensors.index.json", {"weight_map": places})
    records.write_json(folder / "config.json", {"model_type": "llama", "tie_word_embeddings": False})
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as work:
        base, into = Path(work) / "base", Path(work) / "merged"
        names = write_base(base, asked.layers)
        pairs = {name: (torch.randn(RANK, columns), torch.randn(rows, RANK)) for name, (rows, columns) in names.items()}
        into.mkdir()
        adapter, peak, done = Adapter(pairs, RANK, 2.0 * RANK, False), [0], threading.Event()

        def watch() -> None:
            while not done.is_set():
                peak[0] = max(peak[0], anonymous())
                time.sleep(0.005)

        before, start = anonymous(), time.monotonic()
        watcher = threading.Thread(target=watch)
        watcher.start()
        merging.merge(base, base, adapter, into, torch.float16)
        done.set()
        watcher.join()
        written = [path.stat().st_size for path in into.glob("*.safetensors")]
        layer = 4 * sum(rows * columns for rows, columns in SHAPES.values())
        print(f"{asked.layers} layers, {sum(written) / MIB:,.0f} MiB written in {time.monotonic() - start:.0f} s")
        print(f"most memory beside what was held before: {(peak[0] - before) / MIB:,.0f} MiB")
        print(f"of this the largest file: {max(written) / MIB:,.0f} MiB; a layer in float32: {layer / MIB:,.0f} MiB")
        shutil.rmtree(into)


if __name__ == "__main__":
    main()
