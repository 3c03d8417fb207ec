"""Build the model of a run: base, adapter, layers and levers."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import set_seed

from frontier.errors import UserError
from frontier.material_types import BaseRecord
from frontier.model import bases, captured_step, dtypes, layers, packing, streaming
from frontier.model.card import Card
from frontier.model.execution import PACKED, UNPROVED, Method
from frontier.model.targets import adapted_layers
from frontier.request_types import LoraSettings, TrainingRequest
from frontier.run import sharding
from frontier.run.sharding import ALONE, Share


def build_adapter(model, lora: LoraSettings, rank: int, seed: int, read_directly: tuple[str, ...] = ()):
    """Put a LoRA adapter, initialised from `seed`, on the linear layers that `targets` names.

    It is initialised in float32 and kept in `dtype`. Layers with the names `read_directly` get none
    (`model.targets.adapted_layers`).
    """
    names, _ = adapted_layers(model, lora["targets"], read_directly)
    set_seed(seed)
    config = LoraConfig(
        r=rank,
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        use_rslora=lora["rslora"],
        target_modules=names,
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data = weight.data.to(dtypes.DTYPES[lora["dtype"]])
    return adapted


def load_base(
    record: BaseRecord,
    device: torch.device,
    share: Share = ALONE,
    method: Method = UNPROVED,
    base_on: str = "device",
):
    """Return the frozen base of a record of `prepare_base` on `device`, with the attention that `method` says.

    If several processes share it, it stays in the host's memory until it is sharded. `base_on` host: the weights of its
    layers stay there and are sent over as they are called. Raises UserError where they cannot be.
    """
    attention = method.way.attention if method.way and method.way.attention == "own" else packing.ATTENTION
    streams = base_on == "host"
    if streams and record["precision"] == "int8":
        raise UserError("base_on: got host with int8, whose products are bitsandbytes' own; takes device, or nf4")
    if streams and share.processes > 1:
        raise UserError("base_on: got host with processes above 1, which share a base in their own way; takes device")
    base = bases.load(record, torch.device("cpu") if streams or share.processes > 1 else device, attention)
    if streams:
        streaming.stream(base, device, method.read_directly)
    return base


def build_model(
    base, request: TrainingRequest, dtype: torch.dtype, card: Card, share: Share = ALONE, method: Method = UNPROVED
):
    """Turn a run's base, in place, into its model, ready to train; return it, and by name whether each lever is used.

    A lever is used if the request asks for it and both card and model allow it; none is where several processes share
    the model.
    """
    if dtype == torch.float16 and request["lora"]["dtype"] == "bfloat16":
        raise UserError(
            "lora.dtype: got bfloat16 with products in float16, whose scaled gradients torch takes in float32 alone; "
            "set compute_dtype to bfloat16, or lora.dtype to float32"
        )
    settings = request["training"]
    is_alone = share.processes == 1
    fused = is_alone and settings["fused_kernels"] and card.fuse(base)
    model = build_adapter(base, request["lora"], request["rank"], request["seed"], method.read_directly)
    layers.compute_in(model, dtype, method.read_directly, states=dtypes.state_dtype(dtype, card.device))
    is_random = layers.draws_randomly(model)
    if settings["gradient_checkpointing"] and not base.supports_gradient_checkpointing:
        raise UserError("gradient_checkpointing: got true, takes false for this model, which does not support it")
    if settings["gradient_checkpointing"]:
        # Without random numbers, the second forward pass needs no state of their generator.
        options = {"use_reentrant": False, "preserve_rng_state": is_random}
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    if not is_alone:
        sharding.prepare(model, card.device, method.way)
        return model, dict.fromkeys(("fused_kernels", "cuda_graphs", "offload_embeddings"), False)
    offloaded = settings["offload_embeddings"] and card.offload_embeddings(model)
    # Blocks that loading has left in the allocator's cache would be split for tensors that stay, and then no CUDA graph
    # could use them, since graphs have a pool of their own.
    card.empty_cache()
    # A captured step would copy from where it copied first, but not wait for what streams wait for outside of it.
    graphs = settings["cuda_graphs"] and method.way in (None, PACKED) and not hasattr(base, "streamed")
    graphs = graphs and captured_step.is_capturable(model, dtype, is_random, card)
    return model, {"fused_kernels": fused, "cuda_graphs": graphs, "offload_embeddings": offloaded}
