"""Measure the perplexity of a base model, or of an adapter on it, over the whole validation split.

It is computed in float32 over the weights as they are stored, so that the figure depends neither on the batch it was
computed in nor on a compute dtype: in 16 bits the batch alone moves it by as much as a rank does.
"""

import math
from typing import Any, cast

import numpy as np
import pandas as pd
import torch

from frontier.machine.phases import Phases
from frontier.model import packing
from frontier.model.data.tokens import IGNORED, load_tokens
from frontier.model.loss import token_losses
from frontier.outcome_types import EvaluationOutcome
from frontier.outcomes import Status
from frontier.progress import Pacer
from frontier.request_types import EvaluationRequest, Job
from frontier.run import evaluation, method

# What the record says of an evaluation without result.
_UNMEASURED = {"perplexity": None, "eval_loss": None}
# Nats: the exponential of a larger loss would near the largest number of 64 bits (e^709).
_LARGEST_LOSS = 700


@torch.no_grad()
def example_losses(
    model, examples: list[dict], batch_size: int, device: torch.device, on_batch=lambda done: None, way=None
):
    """Return a frame of each example's summed NLL of its answer tokens in nats (`nll`) and their number (`tokens`).

    `on_batch` is called after each batch with the number of examples done; `way` is how losses are computed, as a proof
    found it.
    """
    rows = []
    for start in range(0, len(examples), batch_size):
        part = examples[start : start + batch_size]
        batch = {
            key: value.to(device) if torch.is_tensor(value) else value for key, value in packing.collate(part).items()
        }
        counts = [sum(label != IGNORED for label in example["labels"]) for example in part]
        # All of them come to the host at once: it would wait for the device at each.
        losses = token_losses(model, batch, way=way).double().cpu().split(counts)
        rows += [(float(loss.sum()), count) for loss, count in zip(losses, counts, strict=True)]
        on_batch(len(rows))
    return pd.DataFrame(rows, columns=["nll", "tokens"])


def quality(losses: pd.DataFrame) -> EvaluationOutcome:
    """Return the outcome; perplexity is exp(summed NLL / answer tokens) of the whole split.

    It is diverged, without a perplexity, where any example's loss is not finite or the perplexity would be no number.
    """
    counts = {"examples": len(losses), "answer_tokens": int(losses["tokens"].sum())}
    lost = int((~np.isfinite(losses["nll"])).sum())
    loss = losses["nll"].sum() / losses["tokens"].sum()
    reason = None
    if lost:
        reason = f"loss not finite on {lost} of {len(losses)} validation examples"
    elif not loss < _LARGEST_LOSS:
        reason = f"mean validation loss of {loss:.3g} nats a token, too large for a perplexity"
    if reason:
        ending: dict[str, Any] = {"status": Status.DIVERGED, "phase": "evaluate", "reason": reason} | _UNMEASURED
    else:
        ending = {"status": Status.OK, "eval_loss": loss, "perplexity": math.exp(loss)}
    return cast(EvaluationOutcome, ending | counts)


def evaluate(job: Job[EvaluationRequest]) -> None:
    """Evaluate a base model or, where the job has an adapter, that adapter on it; write the record and the losses."""
    evaluation.judged_job(job, measure_perplexity, _UNMEASURED)


def measure_perplexity(job: Job[EvaluationRequest], device: torch.device, phases: Phases) -> EvaluationOutcome:
    """Compute and write the losses of all examples, and return the outcome."""
    request, inputs, outputs = job["request"], job["input"], job["output"]
    examples = load_tokens(inputs["tokens"])
    phases.enter("load")
    how = method.method_of(method.proof_here(inputs, request, device), examples)
    model = evaluation.load_judged(job, device, how)
    phases.enter("evaluate")
    lines = Pacer()

    def tell(done: int) -> None:
        lines.tell(f"{request['name']}  evaluated {done}/{len(examples)} examples", is_last=done == len(examples))

    losses = example_losses(model, examples, request["batch_size"], device, tell, how.way)
    phases.enter("save")
    losses.to_parquet(outputs["losses"])
    return quality(losses)
