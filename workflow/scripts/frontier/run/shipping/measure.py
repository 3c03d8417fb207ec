"""Judge one way of using a run's adapter: its perplexity on the run's examples, its accuracy, its size."""

from pathlib import Path
from typing import Any, cast

import torch

from frontier import records, ways
from frontier.machine.phases import Phases
from frontier.model.data.json_lines import read_lines
from frontier.model.data.tokens import load_tokens
from frontier.model.execution import OWN, Method
from frontier.model.tokenizer import load_encoder
from frontier.outcomes import Status
from frontier.progress import Pacer
from frontier.request_types import Job
from frontier.run import accuracy, asked, evaluation, perplexity
from frontier.run.method import method_of, proof_here
from frontier.run.shipping import gguf_adapter, gguf_model, judged_gguf, loaded
from frontier.run.shipping.adapter import WEIGHTS, read_adapter
from frontier.run.shipping.llama_cpp import LlamaCpp
from frontier.run.shipping.loaded import Subject
from frontier.run.shipping.room import Unsuited, beside

_UNMEASURED: dict[str, Any] = {"perplexity": None, "eval_loss": None}


def measure_way(job: Job) -> None:
    """Judge a way; write its record and each example's losses."""
    evaluation.judged_job(job, _judged, _UNMEASURED)


def _judged(job: Job, device: torch.device, phases: Phases):
    """Return the outcome of a way; of one that does not exist for this model or on this machine, its reason."""
    request, inputs, outputs = job["request"], job["input"], job["output"]
    way = ways.way_of(request["way"])
    if way.is_gguf:
        export = records.read_json(inputs["export"])
        if export["status"] != Status.OK:
            return _unmeasured(export["reason"])
    examples = load_tokens(inputs["tokens"])
    proof_here(inputs, request, device)
    subject = loaded.subject_of(inputs, device)
    try:
        with beside(Path(outputs["evaluation"])) as work:
            measured = _by_llama_cpp if way.is_gguf else _by_transformers
            losses, answers, held = measured(job, subject, way, examples, work, phases)
    except Unsuited as error:
        return _unmeasured(str(error))
    phases.enter("save")
    losses.to_parquet(outputs["losses"])
    marked = accuracy.score(answers) if answers else {}
    return cast(dict, perplexity.quality(losses)) | held | {"accuracy": marked or None}


def _unmeasured(reason: str):
    return {"status": Status.UNMEASURED, "phase": "evaluate", "reason": reason} | _UNMEASURED


def _by_transformers(job: Job, subject: Subject, way: ways.Way, examples: list[dict], work: Path, phases: Phases):
    """Return a way's losses, its marked answers where they are asked for, and what is shipped in it."""
    request = job["request"]
    folder, size = work / "merged", (subject.adapter / WEIGHTS).stat().st_size
    if way.merge:
        phases.enter("load")
        loaded.merge(subject, way.merge, folder)
        size = loaded.bytes_in_nf4(subject, folder, work) if way.stored else loaded.bytes_of(folder)

    def load(method: Method):
        phases.enter("load")
        if way.merge:
            model = loaded.merged(subject, folder, way.stored, method)
        else:
            precision = ways.NF4 if way.stored else subject.sixteen_bit
            model = loaded.over_base(subject, precision, method)
        return evaluation.ready(model, job, subject.device, method)

    how = method_of(subject.proof, examples)
    tell = _teller(request, len(examples), "examples")
    model = load(how)
    phases.enter("evaluate")
    losses = perplexity.example_losses(model, examples, request["batch_size"], subject.device, tell, how.way)
    del model
    answers = None
    if request["accuracy"]:
        encoder, problems = _problems(job)
        model = load(Method(OWN, how.read_directly))
        phases.enter("evaluate")
        answers = accuracy.answer_all(model, encoder, problems, request["accuracy"], subject.device)
    return losses, answers, {"size_bytes": size, "types": None, "bits": None}


def _by_llama_cpp(job: Job, subject: Subject, way: ways.Way, examples: list[dict], work: Path, phases: Phases):
    """Return what `_by_transformers` does, of a GGUF file; what is shipped has its types and bits a weight too."""
    request = job["request"]
    phases.enter("load")
    folder, adapter, path = subject.folder, None, work / "model.gguf"
    if way.merge:
        folder = work / "merged"
        loaded.merge(subject, way.merge, folder)
    source = gguf_model.open_source(folder)
    written = gguf_model.write_model(source, path, way.stored, request["name"])
    if way.merge is None:
        adapter = work / "adapter.gguf"
        gguf_adapter.write_adapter(read_adapter(subject.adapter), source.config, adapter, request["name"])
        written = gguf_model.held_by(adapter)
    positions = max(len(example["input_ids"]) for example in examples)
    encoder, problems = _problems(job) if request["accuracy"] else (None, [])
    if problems:
        longest = max(len(problem["prompt"]) for problem in problems)
        positions = max(positions, longest + request["accuracy"]["max_new_tokens"])
    answers = None
    with LlamaCpp(path, positions, torch.get_num_threads(), adapter) as model:
        phases.enter("evaluate")
        losses = judged_gguf.example_losses(model, examples, _teller(request, len(examples), "examples"))
        if encoder is not None:
            tell, most = _teller(request, len(problems), "problems"), request["accuracy"]["max_new_tokens"]
            ends = asked.ends_of(encoder)
            answers = judged_gguf.answers(model, encoder.tokenizer, problems, most, ends, tell)
    return losses, answers, {"size_bytes": written.size, "types": written.types, "bits": written.bits}


def _problems(job: Job):
    """Return the encoder and the problems that the run's own accuracy asks."""
    wanted, rows = job["request"]["accuracy"], read_lines(job["input"]["problems"])
    encoder = load_encoder(records.read_json(job["input"]["model"]), wanted["template"], rows)
    return encoder, asked.problems(rows, encoder, wanted["max_length"], wanted["examples"])[0]


def _teller(request: dict, count: int, of: str):
    """Return a function that tells how many are done, now and then."""
    lines = Pacer()
    return lambda done: lines.tell(f"{request['name']}  {request['way']}: {done}/{count} {of}", is_last=done == count)
