"""Pull the levers that make a GPU fast without changing what is learned: fused kernels, offloaded embeddings.

At a batch of a few examples a GPU waits for Python: a step of a 7B model is some ten thousand kernels, most over
before the next is launched. Fused kernels make them fewer; a CUDA graph (`captured_step`) launches all of them at once.
"""

import importlib.util

import torch

# Dense decoders whose forward pass neither waits for the device nor depends on its values, as a CUDA graph needs, and
# that the tests hold against references, fused and captured.
DECODERS = ("llama", "mistral", "qwen2", "qwen3")


def fuse(model) -> bool:
    """Give the model liger-kernel's norms, gated activation and rotary embedding; False where they are not there.

    Decoders that no test holds against a reference keep transformers' own kernels, and are planned so.
    """
    if model.config.model_type not in DECODERS:
        return False
    if not importlib.util.find_spec("liger_kernel"):
        print("liger-kernel is not installed: kernels stay unfused and training is slower", flush=True)
        return False
    from liger_kernel.transformers.monkey_patch import _apply_liger_kernel_to_instance

    _apply_liger_kernel_to_instance(model, cross_entropy=False, fused_linear_cross_entropy=False)
    return True


def offload_embeddings(model) -> bool:
    """Keep the input embeddings in the host's memory and send over the rows a batch needs; False where they are tied.

    A tied matrix is the head's too, which every step reads whole.
    """
    embeddings = model.get_input_embeddings()
    if embeddings.weight is getattr(model.get_output_embeddings(), "weight", None):
        return False
    device, weight = embeddings.weight.device, embeddings.weight.data.cpu()

    def look_up(ids):
        rows = torch.empty((ids.numel(), weight.shape[1]), dtype=weight.dtype, pin_memory=True)
        torch.index_select(weight, 0, ids.flatten().cpu(), out=rows)
        return rows.to(device, non_blocking=True).view(*ids.shape, -1)

    embeddings.weight = torch.nn.Parameter(weight.new_empty(0, device=device), requires_grad=False)
    embeddings.forward = look_up
    return True


def make_state(optimizer: torch.optim.Optimizer) -> None:
    """Have an optimiser make its state, as its first step would, from parameters whose gradients are zeros.

    All that training holds must be there by the time that its steps are captured in CUDA graphs: a graph's memory stays
    taken, and what is allocated later comes on top of it.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    for state in optimizer.state.values():
        state["step"] = torch.zeros_like(state["step"]) if torch.is_tensor(state["step"]) else 0
    optimizer.zero_grad()
