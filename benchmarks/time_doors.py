"""Seconds that opening a model's files takes when it is fetched: `python benchmarks/time_doors.py [FOLDER ...]`.

Without a folder it makes one of Mistral 7B's shape, whose weights are a hole on the disk: headers alone are read.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import _path  # noqa: F401
import torch
from frontier.jobs import fork_client
from frontier.machine.preload import preload
from frontier.model.inspection import inspect
from transformers import AutoConfig, AutoModelForCausalLM


def write_hollow(folder: Path) -> None:
    """Write a 7B's configuration and a safetensors file whose tensors take no room on the disk."""
    config = AutoConfig.for_model("mistral", intermediate_size=14336, num_key_value_heads=8)
    with torch.device("meta"):
        weights = AutoModelForCausalLM.from_config(config, dtype=torch.float16).state_dict()
    header, end = {}, 0
    for name, tensor in weights.items():
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [end, end := end + tensor.nbytes]}
    text = json.dumps(header).encode()
    config.save_pretrained(folder)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def main() -> None:
    # As a job finds them, which is forked from a process that has.
    preload(fork_client.MODULES)
    with tempfile.TemporaryDirectory() as hollow:
        folders = [Path(folder) for folder in sys.argv[1:]]
        if not folders:
            write_hollow(Path(hollow))
            folders = [Path(hollow)]
        for folder in folders:
            start, busy = time.perf_counter(), time.process_time()
            opened, _ = inspect(folder, str(folder), has_tokenizer=(folder / "tokenizer.json").exists())
            seconds, cpu = time.perf_counter() - start, time.process_time() - busy
            size = f"{opened['tensors']} tensors, {opened['gib']:.1f} GiB"
            print(f"{folder}: {seconds:.1f} s, {cpu:.1f} s of a core; {size}", flush=True)


if __name__ == "__main__":
    main()
