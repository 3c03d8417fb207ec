"""Trace how a trained adapter is judged, without data: the losses of a batch, and the first and last token of answers.

As in a step's trace, the project's own adapter, layers and loss run on torch's meta device. What speeds a training up
(fused kernels, captured steps, offloaded embeddings) is no part of it.
"""

import inspect

import torch
from transformers import DynamicCache

from frontier.model import dense, layers, packing
from frontier.model.loss import token_losses
from frontier.plan.step import meta_model, stand_ins
from frontier.plan.step.emulated_card import EmulatedCard
from frontier.plan.step.trace import uncollected
from frontier.plan.step.tracer import Trace, Tracer
from frontier.request_types import TrainingRequest
from frontier.run.build import build_adapter


class JudgedModel:
    """The base of a run with its adapter on the meta device, to be traced once, as it computes in `dtype`.

    `attention` is the name under which transformers has its attention. `elements` is how many numbers its linear
    layers have, of which dense weights may be kept (`run.evaluation.ready`).
    """

    def __init__(self, config, request: TrainingRequest, dtype: torch.dtype, attention: str):
        self.dtype = dtype
        with meta_model.quiet(), torch.device("meta"):
            self.base = meta_model.base(config, request["precision"], attention)
            self.adapted = build_adapter(self.base, request["lora"], request["rank"], request["seed"])
            self.elements = sum(map(dense.elements, filter(layers.is_castable, self.base.modules())))

    def losses(self, examples: list[dict], card: EmulatedCard, keeps: bool) -> Trace:
        """Return the trace of the losses of a batch; `keeps` says whether dense weights are made once."""
        tracer, row = self._tracer(), packing.collate(examples)
        with meta_model.quiet(), uncollected(), torch.no_grad(), torch.device("meta"), tracer:
            self._ready(tracer, card, keeps)
            tracer.phase = "losses"
            token_losses(self.base, tracer.on_device(row), card.has_varlen)
            tracer.trace.events = [*tracer.trace.events]
        return tracer.trace

    def answers(self, prompts: int, tokens: tuple[int, int], card: EmulatedCard, keeps: bool) -> Trace:
        """Return the trace of answers to so many prompts: in phase `prompts` their first token, in `answer` the last.

        `tokens` are those of the longest prompt and of the longest answer.
        """
        tracer, (asked, new) = self._tracer(), tokens
        with meta_model.quiet(), uncollected(), torch.no_grad(), torch.device("meta"), tracer:
            self._ready(tracer, card, keeps)
            tracer.phase = "prompts"
            cache = self._next(torch.empty(prompts, asked, dtype=torch.long), DynamicCache(config=self.base.config))
            tracer.phase = "cache"
            for layer in cache.layers:
                for name in ("keys", "values"):
                    before = getattr(layer, name)
                    size = [*before.shape[:2], asked + new - 1, before.shape[3]]
                    setattr(layer, name, torch.empty(size, dtype=before.dtype))
                del before
            tracer.phase = "answer"
            self._next(torch.empty(prompts, 1, dtype=torch.long), cache)
            tracer.trace.events = [*tracer.trace.events]
        return tracer.trace

    def _tracer(self) -> Tracer:
        return Tracer(vocabulary=self.base.config.get_text_config().vocab_size)

    def _ready(self, tracer: Tracer, card: EmulatedCard, keeps: bool) -> None:
        """Give the model its tensors, as a job that judges has them before it begins."""
        meta_model.fill(self.base)
        adapter = [parameter for parameter in self.base.parameters() if parameter.requires_grad]
        tracer.name(adapter, "adapter")
        # There is no backward pass, whose thread would have a work space of its own.
        tracer.keep(stand_ins.library_space(card)[:1])
        layers.compute_in(self.base, self.dtype, room=2**62 if keeps else 0)
        self.base.eval()

    def _next(self, ids: torch.Tensor, cache: DynamicCache) -> DynamicCache:
        """Work out the next token of each row of ids, (rows, tokens), as `transformers` generates; return the cache."""
        takes = inspect.signature(self.base.forward).parameters
        only_last = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        found = self.base(input_ids=ids, past_key_values=cache, use_cache=True, **only_last)
        scores = found.logits[:, -1].to(copy=True, dtype=torch.float32)
        scores.argmax(dim=-1)
        return found.past_key_values
