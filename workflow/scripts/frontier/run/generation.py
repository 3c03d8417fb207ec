"""Greedy answers of a batch of prompts, which finished answers leave."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from transformers import Cache, GenerationConfig, LogitsProcessor, LogitsProcessorList

from frontier.outcomes import Status, Stop
from frontier.run.asked import Ends

# Tokens after which the answers that have ended leave the batch: seldom enough that what it takes to begin again is
# nothing beside the tokens, often enough that few tokens of ended answers are computed.
_TOKENS_AT_A_TIME = 16


class _Numbers(LogitsProcessor):
    """Passes logits on as they are, and has seen of each answer whether any were no numbers: `lost`, (count,)."""

    def __init__(self, count: int, device: torch.device):
        self.lost = torch.zeros(count, dtype=torch.bool, device=device)

    def __call__(self, input_ids, scores):
        # The largest is no number where any is not.
        self.lost |= ~scores.amax(dim=-1).isfinite()
        return scores


class _Batch(NamedTuple):
    """Rows of tokens, (rows, tokens), padded on the left where `mask` is 0, and what the model keeps of them.

    `cache` is None before the first token is made, and always with a model that keeps nothing.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    cache: Cache | None = None

    @property
    def length(self) -> int:
        """Tokens of a row, padding included."""
        return self.ids.shape[1]

    def of(self, rows: torch.Tensor) -> "_Batch":
        """Return the batch of some of its rows; the cache is the same object, cut in place."""
        if self.cache is not None and len(rows):
            self.cache.reorder_cache(rows)
        return _Batch(self.ids[rows], self.mask[rows], self.cache)


@torch.no_grad()
def answers_of(
    model, tokenizer, prompts: list[list[int]], max_new_tokens: int, ends: Ends, device: torch.device
) -> Iterator[tuple[int, str, bool]]:
    """Yield the greedy answer to each prompt of a batch as it ends.

    Each is (the prompt's index, text, whether it ended by itself).
    Prompts are padded on the left and their positions counted from their own first token, so that an answer is the
    same alone and in any batch. Answers that have ended leave the batch, and the keys and values of the others are
    kept. Raises Stop, diverged, where logits are no numbers: the largest of them would still be a token.
    """
    longest, rows = max(map(len, prompts)), list(range(len(prompts)))
    batch = _Batch(
        torch.tensor([[ends.tokens[0]] * (longest - len(prompt)) + prompt for prompt in prompts], device=device),
        torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device),
    )
    while rows:
        count = min(longest + max_new_tokens - batch.length, _TOKENS_AT_A_TIME)
        batch = _longer(model, tokenizer, batch, count, ends)
        is_last, staying = batch.length == longest + max_new_tokens, []
        for place, tokens in enumerate(batch.ids[:, longest:].tolist()):
            text, ended = text_of(tokens, tokenizer, ends)
            if ended or is_last:
                yield rows[place], text, ended
            else:
                staying.append(place)
        if len(staying) < len(rows):
            rows = [rows[place] for place in staying]
            batch = batch.of(torch.tensor(staying, dtype=torch.long, device=device))


def _longer(model, tokenizer, batch: _Batch, count: int, ends: Ends) -> _Batch:
    """Return the batch with up to `count` further tokens in each row, fewer where all of them end before."""
    settings = GenerationConfig(
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=list(ends.tokens),
        pad_token_id=ends.tokens[0],
        stop_strings=[ends.text] if ends.text else None,
        return_dict_in_generate=True,
    )
    # A model's own settings (a repetition penalty, say) would make the answers other than greedy.
    model.generation_config = settings
    ids, mask, cache = batch
    numbers = _Numbers(len(ids), ids.device)
    watched = {"logits_processor": LogitsProcessorList([numbers]), "tokenizer": tokenizer}
    found = model.generate(ids, attention_mask=mask, past_key_values=cache, generation_config=settings, **watched)
    if lost := int(numbers.lost.sum()):
        raise Stop(Status.DIVERGED, f"logits not finite in {lost} of {len(ids)} answers of a batch")
    longer = mask.new_ones(len(ids), found.sequences.shape[1] - ids.shape[1])
    return _Batch(found.sequences, torch.cat([mask, longer], dim=1), found.past_key_values)


def text_of(tokens: list[int], tokenizer, ends: Ends) -> tuple[str, bool]:
    """Return the text of an answer's tokens up to its end, and whether the answer ended by itself."""
    end = next((index for index, token in enumerate(tokens) if token in ends.tokens), None)
    text = tokenizer.decode(tokens[:end], skip_special_tokens=True)
    if ends.text and ends.text in text:
        return text[: text.index(ends.text)], True
    return text, end is not None
