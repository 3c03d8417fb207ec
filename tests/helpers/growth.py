"""A training of random weights: `python growth.py`, a job on standard input, prints by how many GiB it grew.

In a process of its own, for what it holds to be this training's alone. The job has the base's `config`, the `request`
of a run, and how many `tokens` each of its examples has; half of them are learned.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from frontier.machine.device import open_device
from frontier.machine.phases import Phases
from frontier.model import packing
from frontier.model.card import Card
from frontier.plan.step import meta_model
from frontier.run import build, clock, fit
from transformers import AutoConfig, AutoModelForCausalLM


def main() -> None:
    job = json.load(sys.stdin)
    config = AutoConfig.for_model(**job["config"])
    device = open_device("cpu", 1)
    phases = Phases(device)
    count = job["request"]["training"]["batch_size"] * job["request"]["training"]["steps"]
    ids = [token % config.vocab_size for token in range(job["tokens"])]
    example = {"input_ids": ids, "labels": [-100] * (len(ids) // 2) + ids[len(ids) // 2 :]}
    phases.enter("load")
    with meta_model.quiet():
        base = AutoModelForCausalLM.from_config(config, dtype=torch.float16, attn_implementation=packing.ATTENTION)
    model, _ = build.build_model(base.requires_grad_(False), job["request"], torch.float32, Card(device))
    seen = clock.Clock("growth", device, phases)
    with tempfile.TemporaryDirectory() as folder:
        fit.fit(fit.Run(job["request"], seen, Path(folder)), model, [example] * count)
    peaks = {name: phase["host_gib"] for name, phase in phases.end().items() if "host_gib" in phase}
    print(max(peaks["warm_up"], peaks.get("steady", 0.0)) - peaks["import"])


if __name__ == "__main__":
    main()
