"""Compare logits before any GGUF file counts: a wrong order of rows loads in silence, and its loss may even be lower.

The comparison is over a copy in float32, with a cache in float32 and without flash attention: over quantised weights a
right export and a wrong one are too near to be told apart.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from frontier import records
from frontier.machine.device import open_device
from frontier.model.data.tokens import load_tokens
from frontier.model.execution import OWN, Method
from frontier.progress import say
from frontier.request_types import Job
from frontier.run import evaluation
from frontier.run.shipping import gguf_adapter, gguf_families, gguf_model, judged_gguf, llama_library, loaded
from frontier.run.shipping.adapter import read_adapter
from frontier.run.shipping.llama_cpp import LlamaCpp
from frontier.run.shipping.loaded import Subject
from frontier.run.shipping.room import Unsuited, beside

# A job in which logits that are compared are computed.
IN_FLOAT32: Any = {"request": {"compute_dtype": "float32"}}
# Tokens that are compared, over as many of the first examples as have them.
_TOKENS = 512
# The spread of logits, a standard deviation, up to which a family's difference is the largest that is taken; that of
# more widely spread ones grows with their spread. Right exports were seen to have 1e-4, wrong ones 0.2 and more.
_SPREAD = 10.0


def check_export(job: Job) -> None:
    """Write a record of how far llama.cpp's logits are from transformers', with the adapter over its 16-bit base.

    The record has `status` (ok, unmeasured), `reason`, `difference` and `tokens`.
    """
    request, inputs = job["request"], job["input"]
    device = open_device(request["device"], request["cpu_threads"])
    record = {"digest": job["digest"], "request": request, "status": "ok", "reason": None}
    output = Path(job["output"]["export"])
    if reason := unavailable(inputs):
        records.write_json(output, record | {"status": "unmeasured", "reason": reason})
        return
    subject, examples = loaded.subject_of(inputs, device), load_tokens(inputs["tokens"])
    try:
        with beside(output) as work:
            difference, tokens = compare_adapter(subject, examples, work)
        record |= {"difference": difference, "tokens": tokens}
        say(f"{request['name']}  logits of llama.cpp and transformers differ by {difference:.1e} at the most")
    except Unsuited as error:
        record |= {"status": "unmeasured", "reason": str(error)}
    records.write_json(output, record)


def unavailable(inputs: dict, needs_llama_cpp: bool = True) -> str | None:
    """Return why nothing can be exported of a run as it ended, or here; None where something can."""
    ended = records.read_json(inputs["training"])["outcome"]
    if ended["status"] not in ("ok", "spilled"):
        return f"the run ended {ended['status']}: {ended.get('reason')}"
    if records.read_json(inputs["model"])["architecture_only"]:
        return "its base is an architecture with random weights, so there is nothing to ship"
    if needs_llama_cpp and (absent := llama_library.missing()):
        return f"{' and '.join(absent)} not installed: {llama_library.HOW_TO_INSTALL}"
    return None


def compare_adapter(subject: Subject, examples: list[dict], work: Path) -> tuple[float, int]:
    """Return the largest difference of logits with the adapter over its base, and over how many tokens.

    The base's own file is compared by it too: what is wrong there is wrong here. Raises Unsuited where the difference
    is too large.
    """
    own, rows = Method(OWN, tuple(subject.proof["read_directly"])), few(examples)
    source, adapter = gguf_model.open_source(subject.folder), work / "adapter.gguf"
    gguf_adapter.write_adapter(read_adapter(subject.adapter), source.config, adapter, "adapter")
    model = evaluation.ready(loaded.over_base(subject, subject.exact, own), IN_FLOAT32, subject.device, own)
    wanted = logits_of(model, rows, subject.device)
    del model
    return compare_file(source, wanted, rows, work, adapter), sum(map(len, rows))


def compare_file(
    source: gguf_model.Source, wanted: list[np.ndarray], rows: list[list[int]], work: Path, adapter: Path | None = None
) -> float:
    """Return the largest difference of a model's logits from those of its GGUF file in float32; Unsuited if too large.

    `wanted` are the model's own over the rows of tokens, in float32.
    """
    path = work / "f32.gguf"
    gguf_model.write_model(source, path, "f32", "check")
    with LlamaCpp(path, max(map(len, rows)), torch.get_num_threads(), adapter, exact=True) as model:
        found = [model.logits(row) for row in rows]
    path.unlink()
    difference = judged_gguf.largest_difference(found, wanted)
    spread = max(float(one.std()) for one in wanted)
    largest = gguf_families.family_of(source.config).largest * max(1.0, spread / _SPREAD)
    if not difference < largest:
        raise Unsuited(
            f"shipping: llama.cpp's logits differ from transformers' by {difference:.2g} (takes {largest:.2g}), "
            f"so no GGUF file of this {source.config.model_type} is written; ship the adapter or the merged model"
        )
    return difference


def few(examples: list[dict]) -> list[list[int]]:
    """Return the tokens of the first examples, up to so many in all."""
    rows: list[list[int]] = []
    for example in examples:
        room = _TOKENS - sum(map(len, rows))
        if room > 1:
            rows.append(list(example["input_ids"])[:room])
    return rows


@torch.no_grad()
def logits_of(model, rows: list[list[int]], device: torch.device) -> list[np.ndarray]:
    """Return a model's logits behind each token of rows, each (tokens, vocabulary) in float32."""
    return [model(torch.tensor([row], device=device)).logits[0].float().cpu().numpy() for row in rows]
