"""Greedy answers of a batch of prompts, which finished answers leave."""

from collections.abc import Iterator
from typing import Protocol

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from frontier.outcomes import Status, Stop
from frontier.progress import say
from frontier.run.asked import Ends
from frontier.run.batch import Batch
from frontier.run.captured_decoding import CapturedDecoding, is_capturable

# Tokens after which the answers that have ended leave the batch: seldom enough that what it takes to begin again is
# nothing beside the tokens, often enough that few tokens of ended answers are computed.
TOKENS_AT_A_TIME = 16


class _Numbers(LogitsProcessor):
    """Passes logits on as they are, and has seen of each answer whether any were no numbers: `lost`, (count,)."""

    def __init__(self, count: int, device: torch.device):
        self.lost = torch.zeros(count, dtype=torch.bool, device=device)

    def __call__(self, input_ids, scores):
        # The largest is no number where any is not.
        self.lost |= ~scores.amax(dim=-1).isfinite()
        return scores


class Decoding(Protocol):
    """A way to make the next tokens of a batch."""

    # The share of a batch's rows that must have ended before they leave it.
    leaving: float

    def longer(self, batch: Batch, count: int) -> Batch:
        """Return the batch with up to `count` further tokens in each row; raises Stop where logits are no numbers."""


class OwnDecoding:
    """Makes tokens as transformers generates them: `longer` stops early where all rows have ended."""

    leaving = 0.0

    def __init__(self, model, tokenizer, ends: Ends):
        self.model, self.tokenizer, self.ends = model, tokenizer, ends

    def longer(self, batch: Batch, count: int) -> Batch:
        """Return the batch with up to `count` further tokens in each row; raises Stop where logits are no numbers."""
        ends = self.ends
        settings = GenerationConfig(
            max_new_tokens=count,
            do_sample=False,
            eos_token_id=list(ends.tokens),
            pad_token_id=ends.tokens[0],
            stop_strings=[ends.text] if ends.text else None,
            return_dict_in_generate=True,
        )
        # A model's own settings (a repetition penalty, say) would make the answers other than greedy.
        self.model.generation_config = settings
        ids, mask, cache = batch
        numbers = _Numbers(len(ids), ids.device)
        watched = {"logits_processor": LogitsProcessorList([numbers]), "tokenizer": self.tokenizer}
        how = {"past_key_values": cache, "generation_config": settings}
        found = self.model.generate(ids, attention_mask=mask, **how, **watched)
        if lost := int(numbers.lost.sum()):
            raise Stop(Status.DIVERGED, f"logits not finite in {lost} of {len(ids)} answers of a batch")
        longer = mask.new_ones(len(ids), found.sequences.shape[1] - ids.shape[1])
        return Batch(found.sequences, torch.cat([mask, longer], dim=1), found.past_key_values)


@torch.no_grad()
def decoding_of(
    model, tokenizer, prompts: list[list[int]], max_new_tokens: int, ends: Ends, device: torch.device
) -> Decoding:
    """Return the fastest way to answer that is right for a model: captured where its first tokens are the model's own.

    `prompts` are the batch with the longest prompt.
    """
    own = OwnDecoding(model, tokenizer, ends)
    if not is_capturable(model, device):
        return own
    count = min(max_new_tokens, TOKENS_AT_A_TIME)
    expected = own.longer(_started(prompts, ends, device), count).ids
    captured = CapturedDecoding(model, max(map(len, prompts)) + max_new_tokens, device)
    found = captured.longer(_started(prompts, ends, device), count).ids
    theirs, ours = (ids[:, found.shape[1] - count :].tolist() for ids in (expected, found))
    if all(_alike(one, other, ends.tokens) for one, other in zip(theirs, ours, strict=True)):
        return captured
    model.set_attn_implementation("sdpa")
    say("answers: captured steps give other tokens than the model's own, which are taken")
    return own


def _alike(expected: list[int], found: list[int], ends: tuple[int, ...]) -> bool:
    """Return whether two answers are the same up to where the first ends, or stops being computed."""
    end = next((place + 1 for place, token in enumerate(expected) if token in ends), len(expected))
    return expected[:end] == found[:end]


def _started(prompts: list[list[int]], ends: Ends, device: torch.device) -> Batch:
    """Return the batch of some prompts, padded on the left."""
    longest = max(map(len, prompts))
    return Batch(
        torch.tensor([[ends.tokens[0]] * (longest - len(prompt)) + prompt for prompt in prompts], device=device),
        torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device),
    )


@torch.no_grad()
def answers_of(
    decoding: Decoding, tokenizer, prompts: list[list[int]], max_new_tokens: int, ends: Ends, device: torch.device
) -> Iterator[tuple[int, str, bool]]:
    """Yield the greedy answer to each prompt of a batch as it ends: the prompt's index, text, whether it ended itself.

    Prompts are padded on the left and their positions counted from their own first token, so that an answer is the
    same alone and in any batch. Answers that have ended leave the batch once their share is that of the decoding, and
    the keys and values of the others are kept. Raises Stop, diverged, where logits are no numbers: the largest of them
    would still be a token.
    """
    batch = _started(prompts, ends, device)
    longest = batch.length
    rows, waiting = list(range(len(prompts))), set(range(len(prompts)))
    while waiting:
        batch = decoding.longer(batch, min(longest + max_new_tokens - batch.length, TOKENS_AT_A_TIME))
        is_last = batch.length == longest + max_new_tokens
        for row, tokens in zip(rows, batch.ids[:, longest:].tolist(), strict=True):
            if row not in waiting:
                continue
            text, ended = text_of(tokens, tokenizer, ends)
            if ended or is_last:
                waiting.remove(row)
                yield row, text, ended
        if waiting and len(waiting) < len(rows) and len(waiting) <= (1 - decoding.leaving) * len(rows):
            staying = [place for place, row in enumerate(rows) if row in waiting]
            rows = [rows[place] for place in staying]
            batch = batch.of(torch.tensor(staying, dtype=torch.long, device=device))


def text_of(tokens: list[int], tokenizer, ends: Ends) -> tuple[str, bool]:
    """Return the text of an answer's tokens up to its end, and whether the answer ended by itself."""
    end = next((index for index, token in enumerate(tokens) if token in ends.tokens), None)
    text = tokenizer.decode(tokens[:end], skip_special_tokens=True)
    if ends.text and ends.text in text:
        return text[: text.index(ends.text)], True
    return text, end is not None
