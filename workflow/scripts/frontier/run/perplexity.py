"""Perplexity of a base model, or of an adapter on it, over the whole validation split.

Computed in float32 over the weights as they are stored, so that the figure depends neither on the batch it was
computed in nor on a compute dtype: in 16 bits the batch alone moves it by as much as a rank does.
"""

import math
import time

import pandas as pd
import torch
from peft import PeftModel

from frontier import records
from frontier.machine.phases import Phases
from frontier.model import bases, dtypes, layers, packing
from frontier.model.data.tokens import IGNORED, load_tokens
from frontier.model.loss import token_losses
from frontier.progress import say
from frontier.run import evaluation

_UNMEASURED = {"perplexity": None, "eval_loss": None}


@torch.no_grad()
def example_losses(model, examples: list[dict], batch_size: int, device: torch.device, say=lambda done: None):
    """Each example's summed answer-token NLL in nats and its number of answer tokens: a frame of `nll`, `tokens`."""
    rows = []
    for start in range(0, len(examples), batch_size):
        part = examples[start : start + batch_size]
        batch = {
            key: value.to(device) if torch.is_tensor(value) else value for key, value in packing.collate(part).items()
        }
        counts = [sum(label != IGNORED for label in example["labels"]) for example in part]
        losses = token_losses(model, batch).double().split(counts)
        rows += [(float(loss.sum()), count) for loss, count in zip(losses, counts, strict=True)]
        say(len(rows))
    return pd.DataFrame(rows, columns=["nll", "tokens"])


def quality(losses: pd.DataFrame) -> dict:
    """Perplexity = exp(summed NLL / answer tokens), summed once over the split; empty where it is not finite."""
    loss = losses["nll"].sum() / losses["tokens"].sum()
    finite = math.isfinite(loss)
    return {
        "status": "ok" if finite else "diverged",
        "eval_loss": loss if finite else None,
        "perplexity": math.exp(loss) if finite and loss < 700 else None,
        "examples": len(losses),
        "answer_tokens": int(losses["tokens"].sum()),
    }


def evaluate(job: dict) -> None:
    """Evaluate a base model or, where the job has an adapter, that adapter on it; write the record and the losses."""
    evaluation.judged_job(job, measure_perplexity, _UNMEASURED)


def measure_perplexity(job: dict, device: torch.device, phases: Phases) -> dict:
    """The outcome of an evaluation that came to its end; the examples' losses are written."""
    request, inputs, outputs = job["request"], job["input"], job["output"]
    # TF32 would round the float32 products to ten bits.
    torch.backends.cuda.matmul.allow_tf32 = False
    examples = load_tokens(inputs["tokens"])
    phases.enter("load")
    model = bases.load(records.read_json(inputs["base"]), device)
    if "adapter" in inputs:
        model = PeftModel.from_pretrained(model, inputs["adapter"])
    layers.compute_in(model, dtypes.DTYPES[request["compute_dtype"]]).eval()
    phases.enter("evaluate")
    losses = example_losses(model, examples, request["batch_size"], device, _progress(request, len(examples)))
    phases.enter("save")
    losses.to_parquet(outputs["losses"])
    return quality(losses)


def _progress(request: dict, total: int):
    last = time.monotonic()

    def tell(done: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last > 5:
            last = time.monotonic()
            say(f"{request['name']}  evaluated {done}/{total} examples")

    return tell
