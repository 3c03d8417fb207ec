"""Build the model of a run: base, adapter, layers and levers."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import set_seed

from frontier.model import bases, captured_step, layers
from frontier.model.levers import fuse, offload_embeddings
from frontier.run import sharding
from frontier.run.sharding import ALONE, Share


def build_adapter(model, lora: dict, rank: int, seed: int):
    """Put a float32 LoRA adapter, initialised from `seed`, on every linear layer but the head (or on `targets`)."""
    set_seed(seed)
    config = LoraConfig(
        r=rank,
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        use_rslora=lora["rslora"],
        target_modules=lora["targets"],
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def build_model(request: dict, base: dict, dtype: torch.dtype, device: torch.device, share: Share = ALONE):
    """The model of a run, ready to train, and which of the levers that were asked for it can use.

    One that several processes share stays in the host's memory until it is sharded, and uses none.
    """
    settings, dropout = request["training"], request["lora"]["dropout"]
    is_alone = share.processes == 1
    model = bases.load(base, device if is_alone else torch.device("cpu"))
    fused = is_alone and settings["fused_kernels"] and device.type == "cuda" and fuse(model)
    model = build_adapter(model, request["lora"], request["rank"], request["seed"])
    layers.compute_in(model, dtype)
    if settings["gradient_checkpointing"]:
        # Without dropout nothing is drawn that a second forward pass would have to draw again.
        options = {"use_reentrant": False, "preserve_rng_state": dropout > 0}
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    if not is_alone:
        sharding.prepare(model, device)
        return model, dict.fromkeys(("fused_kernels", "cuda_graphs", "offload_embeddings"), False)
    offloaded = settings["offload_embeddings"] and device.type == "cuda" and offload_embeddings(model)
    if device.type == "cuda":
        # Else what loading has freed is cut up for tensors that stay, and lost to the recorded steps' own pool.
        torch.cuda.empty_cache()
    graphs = settings["cuda_graphs"] and captured_step.is_capturable(model, dtype, dropout, device)
    return model, {"fused_kernels": fused, "cuda_graphs": graphs, "offload_embeddings": offloaded}
