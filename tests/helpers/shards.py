"""One process of a sharded training of the tiny model, for its gradients: `python shards.py`, what to do as JSON."""

import json
import sys
from pathlib import Path

import torch
from frontier import records
from frontier.machine.device import open_device
from frontier.model import cache, dtypes
from frontier.model.card import Card
from frontier.model.data.tokens import load_tokens
from frontier.run import build, fit, sharding
from frontier.run.clock import Clock
from frontier.run.guard import Guard


class Gradients(Guard):
    """Keeps the whole gradients of every optimiser step, and their names."""

    def __init__(self, clock: Clock):
        super().__init__(clock, {}, "")
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
        self.steps.append(
            {name: getattr(gradient, "full_tensor", gradient.clone)() for name, gradient in gradients.items()}
        )


def gradients(job: dict, share: sharding.Share) -> list[dict[str, torch.Tensor]]:
    """Of each optimiser step of the job's training, which is this process's share."""
    request, inputs = job["request"], job["input"]
    device = open_device(request["device"], request["cpu_threads"], share)
    dtype = dtypes.compute_dtype(request["compute_dtype"], request["precision"], device)
    base = build.load_base(records.read_json(inputs["base"]), device, share)
    model, _ = build.build_model(base, request, dtype, Card(device), share)
    clock = Clock(request["run"], device)
    guard = Gradients(clock)
    with sharding.joined(share, Path(job["rendezvous"]), device):
        examples = load_tokens(inputs["tokens"])
        fit.fit(fit.Run(request, clock, Path(job["folder"]), share), model, examples, guard=guard)
        if share.processes > 1:
            assert all(hasattr(weight, "full_tensor") for weight in model.parameters()), "a weight is not sharded"
    return guard.steps


if __name__ == "__main__":
    told = json.load(sys.stdin)
    cache.CACHE = Path(told["cache"])
    found = [gradients(job, sharding.Share(*told["share"])) for job in told["jobs"]]
    if told["share"][0] == 0:
        torch.save(found, told["output"])
