"""Judge a GGUF file through llama.cpp on the examples and problems that transformers' models are judged on."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from frontier.model.data.tokens import IGNORED
from frontier.run import accuracy
from frontier.run.asked import Ends
from frontier.run.generation import text_of
from frontier.run.shipping.llama_cpp import LlamaCpp


def example_losses(model: LlamaCpp, examples: list[dict], on_example=lambda done: None) -> pd.DataFrame:
    """Return a frame of each example's summed NLL of its answer tokens in nats (`nll`) and their number (`tokens`)."""
    rows = []
    for done, example in enumerate(examples, 1):
        ids, labels = list(example["input_ids"]), list(example["labels"])
        # The logits behind a token are of the next one.
        places = [place - 1 for place in range(1, len(ids)) if labels[place] != IGNORED]
        wanted = torch.tensor([labels[place + 1] for place in places])
        logits = torch.from_numpy(model.logits(ids, places))
        losses = torch.nn.functional.cross_entropy(logits, wanted, reduction="none").double()
        rows.append((float(losses.sum()), len(places)))
        on_example(done)
    return pd.DataFrame(rows, columns=["nll", "tokens"])


def answers(model: LlamaCpp, tokenizer, asked: list[dict], most: int, ends: Ends, tell=lambda done: None) -> list[dict]:
    """Return a marked row of each problem's greedy answer, as `run.accuracy` has them."""
    marked = []
    for problem in asked:
        tokens = model.greedy(problem["prompt"], most, ends.tokens)
        marked.append(accuracy.mark(problem, *text_of(tokens, tokenizer, ends)))
        tell(len(marked))
    return marked


def largest_difference(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Return the largest absolute difference between the logits of the same rows."""
    return max(float(np.abs(left - right).max()) for left, right in zip(one, other, strict=True))
