"""Measure how many problems a base model, or an adapter on it, solves, by the final number of greedy answers."""

import pandas as pd
import torch
from transformers import GenerationConfig

from frontier import records
from frontier.errors import UserError
from frontier.machine.phases import Phases
from frontier.model.data.json_lines import read_lines
from frontier.model.positions import check_positions
from frontier.model.tokenizer import load_tokenizer
from frontier.outcomes import ACCURACY, Status
from frontier.progress import Pacer, say
from frontier.run import answers, evaluation

# What the record says of an accuracy without result.
_UNMEASURED = dict.fromkeys(ACCURACY)


def problems(rows: list[dict], tokenizer, template: str, max_length: int, limit: int | None) -> list[dict]:
    """Return the first `limit` rows that state a final number, as `question`, `truth` (Decimal), `prompt` (token ids).

    The prompt is that of the training examples, up to the answer; rows with one of `max_length` tokens or more are left
    out, as they are there. Raises UserError where no row is left.
    """
    kept = []
    for row in rows:
        truth = answers.number(answers.strict(row["answer"]))
        prompt = tokenizer(template.replace("{question}", row["question"]))["input_ids"]
        if truth is not None and 0 < len(prompt) < max_length:
            kept.append({"question": row["question"], "truth": truth, "prompt": prompt})
    if not kept:
        raise UserError("accuracy: no problem's answer ends in #### and a number, so none can be marked")
    return kept[:limit]


@torch.no_grad()
def generate(model, tokenizer, prompts: list[list[int]], max_new_tokens: int, stop: str, device: torch.device):
    """Return greedy answers to one batch of prompts: (text, whether it ended by itself) for each.

    Prompts are padded on the left and their positions counted from their own first token, so that an answer is the
    same alone and in any batch. An answer ends at the end-of-sequence token or where `stop`, a text, begins.
    """
    longest = max(map(len, prompts))
    end = tokenizer.eos_token_id
    ids = torch.tensor([[end] * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
        stop_strings=[stop] if stop else None,
    )
    # A model's own settings (a repetition penalty, say) would make the answers other than greedy.
    model.generation_config = settings
    output = model.generate(ids, attention_mask=mask, generation_config=settings, tokenizer=tokenizer)
    return [_text(row[longest:].tolist(), tokenizer, stop) for row in output]


def mark(problem: dict, text: str, ended: bool) -> dict:
    """Return a row of a problem's answer, with both extractions and whether each is the truth."""
    taken = {"strict": answers.strict(text), "flexible": answers.flexible(text)}
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


def measure_accuracy(job: dict) -> None:
    """Answer the split's problems with a base model or an adapter; write the record and every answer."""
    evaluation.judged_job(job, solve, _UNMEASURED)


def solve(job: dict, device: torch.device, phases: Phases) -> dict:
    """Answer and mark the problems, write every answer, and return the outcome."""
    request, inputs, outputs = job["request"], job["input"], job["output"]
    tokenizer = load_tokenizer(records.read_json(inputs["model"]))
    rows = read_lines(inputs["problems"])
    asked = problems(rows, tokenizer, request["template"], request["max_length"], request["examples"])
    longest = max(len(problem["prompt"]) for problem in asked) + request["max_new_tokens"]
    if warning := check_positions(records.read_json(inputs["model"]), longest, "accuracy.max_new_tokens"):
        say(f"warning: a prompt and accuracy.max_new_tokens: {warning}")
    phases.enter("load")
    model = evaluation.load_judged(inputs, request, device)
    # The packed attention takes no mask and no cache; answering needs both.
    model.set_attn_implementation("sdpa")
    phases.enter("evaluate")
    marked = _answer(model, tokenizer, asked, request, device)
    phases.enter("save")
    pd.DataFrame(marked).to_parquet(outputs["answers"])
    return {"status": Status.OK} | score(marked)


def _answer(model, tokenizer, asked: list[dict], request: dict, device: torch.device) -> list[dict]:
    """Return a marked row of each problem; the longest are answered first, so that a batch is of like lengths."""
    order = sorted(range(len(asked)), key=lambda index: -len(asked[index]["prompt"]))
    stop = request["template"].split("{question}")[0].strip()
    marked: dict[int, dict] = {}
    lines = Pacer()
    for start in range(0, len(order), request["batch_size"]):
        part = order[start : start + request["batch_size"]]
        prompts = [asked[index]["prompt"] for index in part]
        texts = generate(model, tokenizer, prompts, request["max_new_tokens"], stop, device)
        marked |= {index: mark(asked[index], *answer) for index, answer in zip(part, texts, strict=True)}
        line = f"{request['name']}  answered {len(marked)}/{len(asked)} problems"
        lines.tell(line, is_last=len(marked) == len(asked))
    return [marked[index] for index in range(len(asked))]


def _text(tokens: list[int], tokenizer, stop: str) -> tuple[str, bool]:
    """Return the text of an answer's tokens up to its end, and whether the answer ended by itself."""
    ended = tokenizer.eos_token_id in tokens
    if ended:
        tokens = tokens[: tokens.index(tokenizer.eos_token_id)]
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    if stop and stop in text:
        return text[: text.index(stop)], True
    return text, ended
