"""Measure how many problems a base model, or an adapter on it, solves, by the final number of greedy answers."""

import math
import time
import traceback
from collections.abc import Mapping
from typing import Any, cast

import pandas as pd
import torch

from frontier import outcomes, records
from frontier.errors import first_line
from frontier.machine.phases import Phases
from frontier.model.data import filters, truths
from frontier.model.data.json_lines import read_lines
from frontier.model.execution import OWN, Method
from frontier.model.positions import check_positions
from frontier.model.tokenizer import load_encoder
from frontier.outcome_types import AccuracyOutcome
from frontier.outcomes import ACCURACY, Status, Stop
from frontier.progress import Pacer, say
from frontier.request_types import AccuracyRequest, Job
from frontier.run import answers, evaluation
from frontier.run.asked import AnyEncoder, ends_of, problems
from frontier.run.generation import answers_of, decoding_of
from frontier.run.method import proof_here

# What the record says of an accuracy without result.
_UNMEASURED = dict.fromkeys(ACCURACY)


def mark(problem: dict, text: str, ended: bool) -> dict:
    """Return a row of a problem's answer, with both extractions and whether each is the truth."""
    taken = {"strict": filters.strict(text), "flexible": filters.flexible(text)}
    return {
        "question": problem["question"],
        "truth": str(problem["truth"]),
        "answer": text,
        "ended": ended,
        **taken,
        **{f"{name}_correct": answers.matches(value, problem["truth"]) for name, value in taken.items()},
    }


def score(marked: list[dict]) -> dict:
    """Return both accuracies with their standard errors, and how many answers were cut off at the token limit."""
    strict, strict_se = answers.accuracy([row["strict_correct"] for row in marked])
    flexible, flexible_se = answers.accuracy([row["flexible_correct"] for row in marked])
    values = (strict, strict_se, flexible, flexible_se, len(marked), sum(not row["ended"] for row in marked))
    return dict(zip(ACCURACY, values, strict=True))


def measure_accuracy(job: Job[AccuracyRequest]) -> None:
    """Answer the split's problems with a base model or an adapter; write the record and every answer."""
    evaluation.judged_job(job, _solved, _UNMEASURED)


def _solved(job: Job[AccuracyRequest], device: torch.device, phases: Phases) -> AccuracyOutcome:
    """Return the outcome of `solve`; where that fails, say so and return that nothing was measured.

    An accuracy is one column of a summary, which has others to tell.
    """
    try:
        return solve(job, device, phases)
    except Exception as error:
        if outcomes.from_error(error):
            raise
        traceback.print_exc()
        outcomes.discard_tables(job["output"])
        reason = f"{type(error).__name__}: {first_line(error)}"
        path, name = job["output"]["accuracy"], job["request"]["name"]
        say(f"warning: {name}  accuracy failed ({reason}); made again by snakemake --cores 1 -R {path}")
        return _unmeasured(reason)


def _unmeasured(reason: str, **counts) -> AccuracyOutcome:
    ending = {"status": Status.UNMEASURED, "phase": "evaluate", "reason": reason}
    return cast(AccuracyOutcome, ending | _UNMEASURED | counts)


def solve(job: Job[AccuracyRequest], device: torch.device, phases: Phases) -> AccuracyOutcome:
    """Answer and mark the problems, write every answer, and return the outcome."""
    request, inputs, outputs = job["request"], job["input"], job["output"]
    rows = read_lines(inputs["problems"])
    encoder = load_encoder(records.read_json(inputs["model"]), request["template"], rows)
    asked, counts = problems(rows, encoder, request["max_length"], request["examples"])
    say(
        f"{request['name']}  asks {len(asked)} of {len(rows)} problems; {truths.told(counts)}, "
        f"{counts['prompts_too_long']} whose prompt has {request['max_length']} tokens or more"
        + (f", {counts['prompts_unrendered']} for which the template raises" if counts["prompts_unrendered"] else "")
    )
    if not asked:
        reason = truths.nothing_to_mark(request["split"], len(rows))
        say(f"warning: {request['name']}  {reason}")
        return _unmeasured(reason, **counts)
    longest = max(len(problem["prompt"]) for problem in asked) + request["max_new_tokens"]
    if warning := check_positions(records.read_json(inputs["model"]), longest, "accuracy.max_new_tokens"):
        say(f"warning: a prompt and accuracy.max_new_tokens: {warning}")
    phases.enter("load")
    proof = proof_here(inputs, request, device)
    # Answering needs a mask and a cache, which the model's own attention alone takes.
    method = Method(OWN, tuple(proof["read_directly"]))
    model = evaluation.load_judged(job, device, method)
    phases.enter("evaluate")
    marked = answer_all(model, encoder, asked, request, device, _hours(job.get("limits") or {}))
    phases.enter("save")
    pd.DataFrame(marked).to_parquet(outputs["answers"])
    return {"status": Status.OK} | score(marked) | counts


def _hours(limits: Mapping[str, Any]) -> float:
    """Return the hours that all answers together may take."""
    return math.inf if limits.get("continue_over_time") else limits.get("hours") or math.inf


def answer_all(
    model,
    encoder: AnyEncoder,
    asked: list[dict],
    request: AccuracyRequest,
    device: torch.device,
    hours: float = math.inf,
) -> list[dict]:
    """Return a marked row of each problem; the longest are answered first, so that a batch is of like lengths.

    Raises Stop, over time, where the answers have taken more than `hours`.
    """
    began = time.monotonic()
    order = sorted(range(len(asked)), key=lambda index: -len(asked[index]["prompt"]))
    ends = ends_of(encoder)
    marked: dict[int, dict] = {}
    lines = Pacer()
    tokenizer, most = encoder.tokenizer, request["max_new_tokens"]
    first = [asked[index]["prompt"] for index in order[: request["batch_size"]]]
    decoding = decoding_of(model, tokenizer, first, most, ends, device)
    for start in range(0, len(order), request["batch_size"]):
        part = order[start : start + request["batch_size"]]
        prompts = [asked[index]["prompt"] for index in part]
        for place, *answer in answers_of(decoding, tokenizer, prompts, most, ends, device):
            marked[part[place]] = mark(asked[part[place]], *answer)
            spent, left = time.monotonic() - began, len(asked) - len(marked)
            line = f"{request['name']}  answered {len(marked)}/{len(asked)} problems"
            lines.tell(f"{line}, {spent / len(marked) * left:.0f} s left" if left else line, is_last=not left)
            if left and spent > hours * 3600:
                reason = f"the budget of {hours:g} h was spent at answer {len(marked)} of {len(asked)}"
                raise Stop(Status.OVER_TIME, reason, projected_hours=spent / len(marked) * len(asked) / 3600)
    return [marked[index] for index in range(len(asked))]
