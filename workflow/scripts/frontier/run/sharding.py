"""Spread one training over several processes, a GPU each, which share the base and the examples of each step.

accelerate shards the model by torch's fully_shard (FSDP2): each process has a part of every layer's weights, which are
gathered when the layer is used, and dropped after. So a base may be larger than one device's memory. An NF4 base is
sharded and gathered as NF4 (FSDP-QLoRA).
"""

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import bitsandbytes as bnb
import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedType, FullyShardedDataParallelPlugin
from accelerate.parallelism_config import ParallelismConfig
from accelerate.state import AcceleratorState
from accelerate.utils import check_cuda_p2p_ib_support
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from frontier.model import loss, packing
from frontier.model.data.tokens import IGNORED
from frontier.model.execution import Execution
from frontier.units import GIB


class Share(NamedTuple):
    """A process's place in a training: its index, from 0, and how many processes there are."""

    # mypy objects that a tuple has a method of this name, which finds a value's place; no code uses that of a share.
    index: int = 0  # type: ignore[assignment]
    processes: int = 1


# The share of a process that trains alone.
ALONE = Share()


@contextmanager
def joined(share: Share, rendezvous: Path | None, device: torch.device):
    """Join this process to the others of its training while the block runs; do nothing for a process that is alone.

    `rendezvous` is the file by which they find each other, the same for all.
    """
    if share.processes == 1:
        yield
        return
    before = dict(os.environ)
    index, count = map(str, share)
    os.environ |= {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    # Without this accelerate would set another number of threads.
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    if sys.platform == "linux":
        # All processes are on one host. gloo would look for that by the host's name, which may not resolve.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = dist.FileStore(str(rendezvous.absolute()), share.processes)
    where = {"store": store, "rank": share.index, "world_size": share.processes}
    if device.type == "cuda":
        if not check_cuda_p2p_ib_support():
            # RTX 40 cards under an old driver support neither, and accelerate refuses them unless both are switched
            # off.
            os.environ |= {"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"}
        dist.init_process_group("nccl", device_id=device, **where)
    else:
        dist.init_process_group("gloo", **where)
    yield
    # Not done after an error: it would wait for the other processes, which may be gone.
    dist.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)
    AcceleratorState._reset_state(reset_partial_state=True)


def arguments(share: Share) -> dict:
    """Return the Trainer's arguments by which decoder layers are sharded; none for a process that is alone."""
    return {"fsdp": True, "fsdp_config": {"version": 2, "reshard_after_forward": True}} if share.processes > 1 else {}


def complete(accelerator: Accelerator, plugin_arguments: dict) -> None:
    """Have accelerate shard on CPUs as on GPUs, and have it cast nothing, since the layers choose their own dtypes."""
    state = accelerator.state
    if accelerator.device.type == "cpu":
        state.parallelism_config = ParallelismConfig(dp_shard_size=accelerator.num_processes)
        state.device_mesh = state.parallelism_config.get_device_mesh("cpu")
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**plugin_arguments)
        state.distributed_type = DistributedType.FSDP
    state.fsdp_plugin.mixed_precision_policy = None


def lever(share: Share, device: torch.device) -> dict:
    """Return the key `sharding` of a record's levers, with its value; nothing for a process that is alone."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    return {"sharding": f"FSDP2, {share.processes} processes, {backend}"} if share.processes > 1 else {}


def prepare(model: nn.Module, device: torch.device, way: Execution | None = None) -> None:
    """Prepare a model in the host's memory for `fully_shard`, which takes it to `device` a layer at a time."""
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            # accelerate does not shard bitsandbytes' own class of weights, and torch before 2.13 shards no integers. So
            # the bytes are taken four at a time as float32 numbers, and are sharded like any weight. Each process keeps
            # all scales, a byte for 64 weights.
            state = module.weight.quant_state
            state.to(device)
            module.quant_state = state
            module.weight = nn.Parameter(module.weight.data.flatten().view(torch.float32), requires_grad=False)
    loss.give_losses(model, way or loss.packed_way(loss.causal_model(model)))


def deal(examples: list[dict], share: Share) -> dict:
    """Return this process's packed row of the micro-batch that all processes share, and the tokens of the whole.

    The examples are dealt out in turn, the longest first. If there are fewer examples than processes, the others get a
    single token without a label, which adds nothing to the loss.
    """
    longest_first = sorted(examples, key=lambda example: len(example["input_ids"]), reverse=True)
    part = longest_first[share.index :: share.processes]
    if not part:
        part = [{"input_ids": examples[0]["input_ids"][:1], "labels": [IGNORED]}]
    return packing.collate(part) | {"dealt_tokens": sum(len(example["input_ids"]) for example in examples)}


def gathered(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the trainable weights by name, as whole tensors; every process must call this."""
    trainable = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    return {
        name: (weight.full_tensor() if isinstance(weight, DTensor) else weight).detach()
        for name, weight in trainable.items()
    }


def most(counts: torch.Tensor, share: Share) -> torch.Tensor:
    """Return the largest of all processes' counts, element by element; every process must call this."""
    counts = counts.clone()
    if share.processes > 1:
        dist.all_reduce(counts, dist.ReduceOp.MAX)
    return counts


def agreed(value, share: Share):
    """Return the first process's value in all of them."""
    if share.processes == 1:
        return value
    told = [value]
    dist.broadcast_object_list(told)
    return told[0]


def whole_state(optimizer) -> dict:
    """Return the optimiser's state with whole tensors, as one process would have it; every process must call this."""
    state = optimizer.state_dict()
    whole = {
        number: {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in one.items()}
        for number, one in state["state"].items()
    }
    return state | {"state": whole}


def load_whole(optimizer, state: dict) -> None:
    """Load this process's part of what `whole_state` returned into the optimiser."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    parts = {
        number: {name: value if value.dim() == 0 else part_of(value, parameters[number]) for name, value in one.items()}
        for number, one in state["state"].items()
    }
    optimizer.load_state_dict(state | {"state": parts})


def part_of(whole: torch.Tensor, like: DTensor) -> DTensor:
    """Return a tensor that every process has whole, sharded as the tensor `like` is."""
    whole = whole.to(like.device_mesh.device_type)
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)


def held_gib(model: nn.Module) -> float:
    """Return the GiB of the model's weights that this process holds between steps."""
    local = (getattr(parameter, "_local_tensor", parameter) for parameter in model.parameters())
    return sum(tensor.nbytes for tensor in local) / GIB
