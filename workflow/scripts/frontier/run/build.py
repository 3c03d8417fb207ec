"""Build the model of a run: base, adapter, layers and levers."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import set_seed

from frontier.material_types import BaseRecord
from frontier.model import bases, captured_step, layers
from frontier.model.card import Card
from frontier.request_types import LoraSettings, TrainingRequest
from frontier.run import sharding
from frontier.run.sharding import ALONE, Share


def build_adapter(model, lora: LoraSettings, rank: int, seed: int):
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


def load_base(record: BaseRecord, device: torch.device, share: Share = ALONE):
    """Return the frozen base of a `prepare_base` record on `device`.

    One that several processes share stays in the host's memory until it is sharded.
    """
    return bases.load(record, device if share.processes == 1 else torch.device("cpu"))


def build_model(base, request: TrainingRequest, dtype: torch.dtype, card: Card, share: Share = ALONE):
    """Return the model of a run, ready to train, made of its base in place, and which levers it uses.

    Those are used that were asked for and that the card and the model can use; none where several processes share it.
    """
    settings, dropout = request["training"], request["lora"]["dropout"]
    is_alone = share.processes == 1
    fused = is_alone and settings["fused_kernels"] and card.fuse(base)
    model = build_adapter(base, request["lora"], request["rank"], request["seed"])
    layers.compute_in(model, dtype)
    if settings["gradient_checkpointing"]:
        # Without dropout nothing is drawn that a second forward pass would have to draw again.
        options = {"use_reentrant": False, "preserve_rng_state": dropout > 0}
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    if not is_alone:
        sharding.prepare(model, card.device)
        return model, dict.fromkeys(("fused_kernels", "cuda_graphs", "offload_embeddings"), False)
    offloaded = settings["offload_embeddings"] and card.offload_embeddings(model)
    # Memory that loading has left would be cut up for tensors that stay, and be lost to the captured steps' own pool.
    card.empty_cache()
    graphs = settings["cuda_graphs"] and captured_step.is_capturable(model, dtype, dropout, card)
    return model, {"fused_kernels": fused, "cuda_graphs": graphs, "offload_embeddings": offloaded}
