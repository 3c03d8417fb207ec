"""A model's shape without its weights, made small enough to compute with: few layers, caps that are met."""

import copy
import math
import re

import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.initialization import no_init_weights
from transformers.pytorch_utils import Conv1D

# Layers up to which a model is taken whole.
_FEW_LAYERS = 8
# What a cap of attention's scores, mostly 50, is lowered to.
LOW_CAP = 1
# What a cap of logits, mostly 30, is lowered to: at 1 no token would move the losses much.
HEAD_CAP = 4
# Tokens that a model is tried with: a head of 262,000 takes most of a proof's time, and shows no more.
VOCABULARY = 50_000
# Random numbers that a model's weights are filled with; prime, so that no row of a weight is another's again.
_BLOCK = 1_000_003


def shortened(config, layers: int):
    """Return the transformers config with its first `layers` decoder layers alone."""
    short = copy.deepcopy(config)
    text = short.get_text_config()
    before = text.num_hidden_layers
    text.num_hidden_layers = layers
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == before and name != "architectures":
            setattr(text, name, value[:layers])
        elif re.search("shared_layers$", name) and isinstance(value, int) and value:
            # It counts from the end; which layers share those of earlier ones stays.
            setattr(text, name, max(0, value - before + layers))
    return short


def fewest_layers(config) -> int:
    """Return how many of a model's first layers hold one of each kind that it has, two at the least.

    Layers are of one kind where their modules' classes, their weights' shapes and their plain attributes (a window,
    say) are the same.
    """
    layers = decoder_layers(on_meta(config))
    if len(layers) <= _FEW_LAYERS:
        return len(layers)
    kinds = [_kind(layer) for layer in layers]
    return max(2, max(kinds.index(kind) for kind in set(kinds)) + 1)


def decoder_layers(model) -> nn.ModuleList:
    """Return the list of a model's decoder layers: the longest list of modules that it has."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    depth = model.config.get_text_config().num_hidden_layers
    return next((one for one in lists if len(one) == depth), max(lists, key=len, default=nn.ModuleList()))


def with_low_caps(config):
    """Return the config with its caps so low that random weights meet them: LOW_CAP of scores, HEAD_CAP of others."""
    low = copy.deepcopy(config)
    text = low.get_text_config()
    for name, value in list(vars(text).items()):
        if re.search(r"(soft|_)cap(ping)?$", name) and isinstance(value, int | float):
            setattr(text, name, type(value)(min(value, LOW_CAP if "att" in name else HEAD_CAP)))
    return low


def with_few_tokens(config):
    """Return the config with a vocabulary of at most VOCABULARY; no token beyond it is padding."""
    small = copy.deepcopy(config)
    for part in (small, small.get_text_config()):
        for name, value in list(vars(part).items()):
            if name.startswith("vocab_size") and isinstance(value, int):
                setattr(part, name, min(value, VOCABULARY))
            elif name == "pad_token_id" and isinstance(value, int) and value >= VOCABULARY:
                setattr(part, name, None)
    return small


def lively(config, device: torch.device, gain: float = 1.0):
    """Return a model of random weights of such a spread that each layer and token moves the losses.

    They are float32, of values that float16 holds, so that storing them in 16 bits loses nothing. `gain` is how much
    wider the spread of the head's is: a family may scale its logits down.
    """
    torch.manual_seed(0)
    with device, no_init_weights():
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=torch.float32)
    block = torch.randn(_BLOCK, device=device)
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    is_tied = head is not None and head.weight is embeddings.weight
    with torch.no_grad():
        for module in model.modules():
            # What is filled below needs no numbers before; norms and layers with a state want those of their own kind.
            if isinstance(module, nn.Linear | nn.Embedding | Conv1D):
                module._is_hf_initialized = True
        model.initialize_weights()
        for module in model.modules():
            is_linear = isinstance(module, nn.Linear | nn.Embedding | Conv1D)
            for name, parameter in module.named_parameters(recurse=False):
                # Experts' matrices are parameters of three dimensions; a convolution's kernels are no matrices.
                is_stack = parameter.dim() == 3 and not isinstance(module, nn.Conv1d)
                if is_stack or (is_linear and parameter.dim() == 2):
                    _fill(parameter, block, 1 / math.sqrt(parameter.shape[-1]))
                elif is_linear and name == "bias":
                    parameter.zero_()
                else:
                    parameter.copy_(parameter.half())
        # Of a matrix that is the head's too, the spread is the one that logits need.
        wide = 2 * gain / math.sqrt(embeddings.weight.shape[-1])
        _fill(embeddings.weight, block, wide if is_tied else 1.0)
        if head is not None and not is_tied:
            _fill(head.weight, block, wide)
    return model


def _fill(weight: torch.Tensor, block: torch.Tensor, spread: float) -> None:
    """Fill a weight with random numbers that float16 holds: a block of them, again and again from a random place on.

    To draw each number of a 7B's layers by itself takes a CPU the better part of a minute.
    """
    flat = weight.view(-1)
    start = int(torch.randint(len(block), ()))
    numbers = (block.roll(-start) * spread).half().float()
    for begin in range(0, len(flat), len(block)):
        part = flat[begin : begin + len(block)]
        part.copy_(numbers[: len(part)])


def on_meta(config):
    """Return a causal language model of the config, without content."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(copy.deepcopy(config))


def _kind(layer: nn.Module) -> tuple:
    modules = tuple((name, type(module).__name__) for name, module in layer.named_modules())
    shapes = tuple((name, tuple(tensor.shape)) for name, tensor in layer.named_parameters())
    plain = []
    for name, module in layer.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, int | float | str | bool | None) and "idx" not in key and "index" not in key:
                plain.append((name, key, value))
    return modules, shapes, tuple(plain)
