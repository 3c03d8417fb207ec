"""Compute cross entropy over a vocabulary, a slice of tokens at a time.

The logits of a batch are its largest tensor (tokens x vocabulary), and most trainers hold several copies. Here a
slice's logits are made, turned into the loss and the hidden states' gradient at once, and thrown away.
"""

import inspect
from functools import partial
from types import MethodType

import torch
import torch.nn.functional as F

from frontier.model import packing
from frontier.model.data.tokens import IGNORED
from frontier.model.dense import dense_weight, product_dtype
from frontier.model.execution import PACKED, Execution

# Logits of a slice: 32 MiB of float32.
_SLICE_ELEMENTS = 2**23


class _TokenLoss(torch.autograd.Function):
    """hidden (tokens, width), a frozen head, labels (tokens,) -> negative log-likelihood in nats (tokens,), float32."""

    @staticmethod
    def forward(ctx, hidden, head, labels):
        weight = dense_weight(head, product_dtype(head, hidden))
        ctx.states, hidden = hidden.dtype, hidden.to(weight.dtype)
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        wants_gradient = ctx.needs_input_grad[0]
        gradient = torch.empty_like(hidden) if wants_gradient else None
        rows = max(1, _SLICE_ELEMENTS // weight.shape[0])
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            target = labels[part, None]
            logits = F.linear(hidden[part], weight).float()
            normaliser = logits.logsumexp(-1, keepdim=True)
            losses[part] = (normaliser - logits.gather(1, target)).squeeze(1)
            if wants_gradient:
                probabilities = logits.sub_(normaliser).exp_()
                probabilities.scatter_add_(1, target, probabilities.new_full(target.shape, -1.0))
                torch.mm(probabilities.to(weight.dtype), weight, out=gradient[part])
        if wants_gradient:
            ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx, incoming):
        (gradient,) = ctx.saved_tensors
        return (gradient * incoming[:, None]).to(ctx.states), None, None


def token_losses(model, batch: dict, varlen: bool | None = None, way: Execution | None = None) -> torch.Tensor:
    """Return the negative log-likelihood in nats of each labelled token of one packed row: (labelled tokens,) float32.

    `batch` is what `packing.collate` makes. `varlen` says whether the device has torch's variable-length attention;
    None asks the device. `way` is how a proof says that this model's losses are computed; without one they are of a
    packed row. Positions without a label never reach the vocabulary projection.
    """
    way = way or packed_way(causal_model(model))
    if way.rows == "packed":
        return _row_losses(model, batch, varlen, way)
    return torch.cat([_row_losses(model, one, varlen, way) for one in packing.apart(batch)])


def _row_losses(model, batch: dict, varlen: bool | None, way: Execution) -> torch.Tensor:
    labels = batch["labels"][0, 1:]
    kept = (labels != IGNORED).nonzero().squeeze(1)
    causal = causal_model(model)
    inputs = {"input_ids": batch["input_ids"], "use_cache": False}
    if way.attention == "packed":
        varlen = packing.has_varlen(labels.device) if varlen is None else varlen
        borders = packing.borders(batch["lengths"], labels.device) if varlen else None
        inputs |= {"position_ids": batch["position_ids"], "lengths": batch["lengths"], "borders": borders}
        inputs["attention_mask"] = None
    if way.head == "own":
        return _own_head_losses(causal, inputs, kept, labels[kept])
    hidden = decoder_of(causal)(**inputs).last_hidden_state
    head = causal.get_output_embeddings()
    if getattr(head, "gives_losses", False):
        return head(hidden[0, kept], labels[kept])
    return _TokenLoss.apply(hidden[0, kept], head, labels[kept])


def _own_head_losses(causal, inputs: dict, kept: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the losses by the model's own way from hidden states to logits, which may scale or cap them."""
    if "logits_to_keep" in inspect.signature(causal.forward).parameters:
        logits = causal(**inputs, logits_to_keep=kept).logits[0]
    else:
        logits = causal(**inputs).logits[0, kept]
    return F.cross_entropy(logits.float(), targets, reduction="none")


def packed_way(causal) -> Execution:
    """Return the way of a packed row for a model that nothing is proved of, its head by what its config says."""
    return PACKED if head_is_matrix(causal) else PACKED._replace(head="own")


def give_losses(model, way: Execution) -> None:
    """Have `model(batch)` give what `token_losses` does, and its head, where that is a matrix, losses.

    FSDP gathers a module's weights when the module is called: a way around its forward method finds none.
    """
    model.forward = MethodType(partial(_losses_of, way), model)
    if way.head == "matrix":
        head = causal_model(model).get_output_embeddings()
        head.forward = MethodType(lambda self, hidden, labels: _TokenLoss.apply(hidden, self, labels), head)
        head.gives_losses = True


def _losses_of(way: Execution, model, batch: dict) -> torch.Tensor:
    return token_losses(model, batch, way=way)


def summed_loss(model, embedded, positions, targets, borders, longest: int) -> torch.Tensor:
    """Return the summed loss in nats of one packed row whose shapes are all fixed, so that a CUDA graph can hold it.

    embedded: (1, tokens, width); positions, targets: (1, tokens), the targets shifted and IGNORED where there is none;
    `borders` as `packing.borders` makes them. Every position reaches the vocabulary projection, with a target or not.
    """
    causal = causal_model(model)
    inputs = {"inputs_embeds": embedded, "position_ids": positions, "borders": borders, "longest": longest}
    hidden = decoder_of(causal)(**inputs, attention_mask=None, use_cache=False).last_hidden_state
    losses = _TokenLoss.apply(hidden[0], causal.get_output_embeddings(), targets[0].clamp(min=0))
    return torch.where(targets[0] != IGNORED, losses, 0.0).sum()


def causal_model(model):
    """Return the causal language model within a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def decoder_of(causal):
    """Return the module of a causal model that makes hidden states of tokens: all of its text model but the head."""
    decoder = causal.get_decoder()
    # ModernBERT's causal model has its head under that name.
    return causal.base_model if decoder is causal.get_output_embeddings() else decoder


def head_is_matrix(model) -> bool:
    """Return whether a causal model's logits are its hidden states times a matrix and no more, by what it says itself.

    A proof finds out; a plan is made without one.
    """
    reshaping = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")
    head, text = model.get_output_embeddings(), model.config.get_text_config()
    return getattr(head, "bias", None) is None and not any(getattr(text, name, None) for name in reshaping)
