"""One training spread over several processes, a GPU each: the base in shards, each optimiser step's examples dealt out.

accelerate shards the model by torch's fully_shard (FSDP2): a layer's weights are gathered for the moment in which they
are used, and dropped. So a base may be larger than one device's memory. An NF4 base stays NF4 on its way (FSDP-QLoRA).
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
from frontier.units import GIB

_OF_EACH = (
    "weights_gib peak_memory_gib peak_allocated_gib peak_reserved_gib peak_held_gib peak_device_gib peak_host_gib"
).split()


class Share(NamedTuple):
    """Which of a training's processes this one is."""

    rank: int = 0
    processes: int = 1


ALONE = Share()


@contextmanager
def joined(share: Share, rendezvous: Path | None, device: torch.device):
    """Make this process one of its training's while the block runs; `rendezvous` is a file that they all name.

    A process that is alone joins nothing.
    """
    if share.processes == 1:
        yield
        return
    before = dict(os.environ)
    rank, count = map(str, share)
    os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    # accelerate would choose the threads itself.
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    if sys.platform == "linux":
        # All processes are on one host, whose own name need not lead anywhere.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = dist.FileStore(str(rendezvous.absolute()), share.processes)
    where = {"store": store, "rank": share.rank, "world_size": share.processes}
    if device.type == "cuda":
        if not check_cuda_p2p_ib_support():
            # Such cards under an old driver, which accelerate refuses else.
            os.environ |= {"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"}
        dist.init_process_group("nccl", device_id=device, **where)
    else:
        dist.init_process_group("gloo", **where)
    yield
    # Not after an error: the others may be gone, and this would wait for them.
    dist.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)
    AcceleratorState._reset_state(reset_partial_state=True)


def arguments(share: Share) -> dict:
    """What makes a Trainer shard the model, each decoder layer apart; nothing where a process is alone."""
    return {"fsdp": True, "fsdp_config": {"version": 2, "reshard_after_forward": True}} if share.processes > 1 else {}


def complete(accelerator: Accelerator, plugin_arguments: dict) -> None:
    """Have accelerate shard on CPUs as it does on GPUs, and cast nothing: the layers choose their own dtypes."""
    state = accelerator.state
    if accelerator.device.type == "cpu":
        state.parallelism_config = ParallelismConfig(dp_shard_size=accelerator.num_processes)
        state.device_mesh = state.parallelism_config.get_device_mesh("cpu")
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**plugin_arguments)
        state.distributed_type = DistributedType.FSDP
    state.fsdp_plugin.mixed_precision_policy = None


def lever(share: Share, device: torch.device) -> dict:
    """What a record says of it; nothing where a process is alone."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    return {"sharding": f"FSDP2, {share.processes} processes, {backend}"} if share.processes > 1 else {}


def prepare(model: nn.Module, device: torch.device) -> None:
    """Ready a model in the host's memory for `fully_shard`, which takes it to `device` a layer at a time."""
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            # accelerate leaves bitsandbytes' own class whole on every device, and torch before 2.13 shards no integers.
            # As plain numbers of four bytes it is sharded like any weight; the scales, a byte for 64 weights, are with
            # the layer, whole.
            state = module.weight.quant_state
            state.to(device)
            module.quant_state = state
            module.weight = nn.Parameter(module.weight.data.flatten().view(torch.float32), requires_grad=False)
    loss.give_losses(model)


def deal(examples: list[dict], share: Share) -> dict:
    """The packed row of this process's part of the examples that all take at a time, and the tokens of the whole.

    The longest are dealt out first. Where there are fewer examples than processes, some have one without labels, which
    adds nothing.
    """
    longest_first = sorted(examples, key=lambda example: len(example["input_ids"]), reverse=True)
    part = longest_first[share.rank :: share.processes]
    if not part:
        part = [{"input_ids": examples[0]["input_ids"][:1], "labels": [IGNORED]}]
    return packing.collate(part) | {"dealt_tokens": sum(len(example["input_ids"]) for example in examples)}


def gathered(model: nn.Module) -> dict[str, torch.Tensor]:
    """The trainable weights, whole, by name; every process must ask for them."""
    return {
        name: parameter.full_tensor().detach()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def agreed(value, share: Share):
    """The first process's value, for all of them."""
    if share.processes == 1:
        return value
    told = [value]
    dist.broadcast_object_list(told)
    return told[0]


def whole_state(optimizer) -> dict:
    """The optimiser's state with whole tensors, as one process would have it; every process must ask for it."""
    state = optimizer.state_dict()
    whole = {
        number: {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in one.items()}
        for number, one in state["state"].items()
    }
    return state | {"state": whole}


def load_whole(optimizer, state: dict) -> None:
    """Give the optimiser this process's part of what `whole_state` returned."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    parts = {
        number: {name: value if value.dim() == 0 else part_of(value, parameters[number]) for name, value in one.items()}
        for number, one in state["state"].items()
    }
    optimizer.load_state_dict(state | {"state": parts})


def part_of(whole: torch.Tensor, like: DTensor) -> DTensor:
    """A whole tensor that every process has, in the shards of another."""
    whole = whole.to(like.device_mesh.device_type)
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)


def held_gib(model: nn.Module) -> float:
    """What this process holds of the model's weights, between steps."""
    local = (getattr(parameter, "_local_tensor", parameter) for parameter in model.parameters())
    return sum(tensor.nbytes for tensor in local) / GIB


def merged(outcomes: list[dict]) -> dict:
    """One outcome of the processes': the first's, with the peaks of whichever process had the most, and all of them."""
    if len(outcomes) == 1:
        return outcomes[0]
    worst = next((one for one in outcomes if one["status"] != "ok"), outcomes[0])
    ending = {name: worst[name] for name in ("status", "phase", "reason") if name in worst}
    each = [{name: one.get(name) for name in _OF_EACH} for one in outcomes]
    most = {name: max((one[name] for one in each if one[name] is not None), default=None) for name in _OF_EACH}
    return outcomes[0] | ending | most | {"processes": each}
