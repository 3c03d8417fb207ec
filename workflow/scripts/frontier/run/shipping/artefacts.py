"""Make what is shipped of a run: each is loaded again by the library it is for and judged before it takes its name."""

import shutil
from pathlib import Path
from typing import Any

import torch

from frontier import named_base, records
from frontier.errors import UserError
from frontier.machine.device import open_device
from frontier.model.data.tokens import load_tokens
from frontier.model.execution import OWN, Method
from frontier.progress import say
from frontier.request_types import Job
from frontier.run import evaluation, perplexity
from frontier.run.method import method_of, proof_here
from frontier.run.shipping import exports, gguf_adapter, gguf_model, judged_gguf, loaded, merging
from frontier.run.shipping.adapter import CONFIG, WEIGHTS, read_adapter
from frontier.run.shipping.card_lines import run_lines
from frontier.run.shipping.llama_cpp import LlamaCpp
from frontier.run.shipping.loaded import Subject
from frontier.run.shipping.room import beside
from frontier.ways import FLOAT_FILES

# Nats a token by which the loss of what was loaded again may differ: of the adapter and of a merge in 16 bits; of GGUF
# files from transformers' loss. Below eight bits a quantisation costs what it costs, and a ruined file costs far more.
_OF_MERGE, _OF_FLOATS, _OF_8_BITS, _OF_FEWER = 5e-4, 2e-3, 5e-3, 0.5


def ship_adapter(job: Job) -> None:
    """Write the adapter's folder for others: base named as the world knows it, tokenizer, and the card that is given.

    The adapter is loaded by PEFT over its own base and judged, and the lines of the card that load it are run.
    """
    inputs, target = job["input"], Path(job["output"]["adapter"])
    subject, examples = _opened(job)
    with beside(target) as work:
        folder = work / "adapter"
        folder.mkdir()
        shutil.copyfile(subject.adapter / WEIGHTS, folder / WEIGHTS)
        config = records.read_json(subject.adapter / CONFIG)
        records.write_json(folder / CONFIG, config | named_base.for_peft(subject.model))
        _copy_tokenizer(subject, folder)
        card = Path(inputs["card"]).read_text("utf-8")
        records.write_text(folder / "README.md", card)
        how = method_of(subject.proof, examples)
        loss = _loss(loaded.over_base(subject, subject.base["precision"], how, folder), how, job, examples, subject)
        _refuse_other(loss, records.read_json(inputs["evaluation"])["outcome"]["eval_loss"], _OF_MERGE, "the adapter")
        run_lines(card, subject.folder, folder)
        folder.rename(target)
    say(f"{job['request']['name']}  adapter: {loss:.4f} nats a token, as trained: {target}")


def ship_merged(job: Job) -> None:
    """Write the merged model in 16 bits, from whichever base it is better from, and judge it; say which that was."""
    inputs, outputs = job["input"], job["output"]
    subject, examples = _opened(job)
    which, expected = _better_merge(inputs)
    target = Path(outputs["merged"])
    with beside(target) as work:
        folder = work / "merged"
        loaded.merge(subject, which, folder)
        if (template := subject.adapter / "chat_template.jinja").is_file():
            shutil.copyfile(template, folder / template.name)
        how = method_of(subject.proof, examples)
        loss = _loss(loaded.merged(subject, folder, "", how), how, job, examples, subject)
        _refuse_other(loss, expected, _OF_MERGE, "the merged model")
        records.write_text(folder / "README.md", named_base.merged_card(subject.model, which, loss, job["request"]))
        folder.rename(target)
    record = {"run": job["request"]["name"], "merged_from": which, "eval_loss": loss}
    records.write_json(outputs["record"], record)
    say(f"{job['request']['name']}  merged from the {which} base: {loss:.4f} nats a token: {target}")


def ship_gguf(job: Job) -> None:
    """Write the merged model as a GGUF file in the quantisation of the request; compare its logits, then judge it."""
    request, inputs, target = job["request"], job["input"], Path(job["output"]["gguf"])
    subject, examples = _opened(job, needs_llama_cpp=True)
    folder, kind = Path(inputs["merged"]), request["quantisation"]
    merged = records.read_json(inputs["record"])
    with beside(target) as work:
        source = gguf_model.open_source(folder)
        own, rows = Method(OWN, tuple(subject.proof["read_directly"])), exports.few(examples)
        model = evaluation.ready(loaded.merged(subject, folder, "", own), exports.IN_FLOAT32, subject.device, own)
        wanted = exports.logits_of(model, rows, subject.device)
        del model
        difference = exports.compare_file(source, wanted, rows, work)
        path = work / target.name
        written = gguf_model.write_model(source, path, kind, request["name"])
        loss = _loss_of_file(path, None, examples)
        allowed = _OF_FLOATS if kind in FLOAT_FILES else _OF_8_BITS if kind == "Q8_0" else _OF_FEWER
        _refuse_other(loss, merged["eval_loss"], allowed, target.name)
        path.rename(target)
    types = ", ".join(f"{count} {name}" for name, count in written.types.items())
    say(
        f"{request['name']}  {target.name}: {loss:.4f} nats a token ({merged['eval_loss']:.4f} in transformers), "
        f"{written.bits:.2f} bits a weight ({types}), logits within {difference:.1e} in float32"
    )


def ship_adapter_gguf(job: Job) -> None:
    """Write the adapter as a GGUF file; compare logits over the base in float32, then judge it over the base in f16."""
    request, target = job["request"], Path(job["output"]["gguf"])
    subject, examples = _opened(job, needs_llama_cpp=True)
    with beside(target) as work:
        difference, _ = exports.compare_adapter(subject, examples, work)
        source, path = gguf_model.open_source(subject.folder), work / target.name
        gguf_adapter.write_adapter(read_adapter(subject.adapter), source.config, path, request["name"])
        base = work / "base.gguf"
        gguf_model.write_model(source, base, "f16", "base")
        how = method_of(subject.proof, examples)
        expected = _loss(loaded.over_base(subject, subject.sixteen_bit, how), how, job, examples, subject)
        loss = _loss_of_file(base, path, examples)
        _refuse_other(loss, expected, _OF_FLOATS, target.name)
        path.rename(target)
    say(
        f"{request['name']}  {target.name}: {loss:.4f} nats a token over f16, logits within {difference:.1e} in float32"
    )


def _opened(job: Job, needs_llama_cpp: bool = False) -> tuple[Subject, list[dict]]:
    """Return what a job ships and the examples that judge it; UserError where there is nothing to ship of the run."""
    request, inputs = job["request"], job["input"]
    device = open_device(request["device"], request["cpu_threads"])
    reason = exports.unavailable(inputs, needs_llama_cpp)
    if reason:
        raise UserError(f"shipping: {request['name']}: {reason}; nothing is written")
    proof_here(inputs, request, device)
    return loaded.subject_of(inputs, device), load_tokens(inputs["tokens"])


def _better_merge(inputs: dict[str, Any]) -> tuple[str, float]:
    """Return the base that the adapter is to be merged into, and the loss that was measured of that.

    Where both were measured, it is the one of the lower loss.
    """
    losses = {
        which: records.read_json(inputs[which])["outcome"].get("eval_loss")
        for which in ("original", "dequantised")
        if which in inputs
    }
    known = {which: loss for which, loss in losses.items() if loss is not None}
    if not known:
        ended = records.read_json(inputs["original"])["outcome"]
        raise UserError(f"{ended.get('reason') or 'shipping: the merged model was not measured'}")
    return min(known.items(), key=lambda one: one[1])


def _copy_tokenizer(subject: Subject, folder: Path) -> None:
    """Copy the tokenizer's files beside an adapter, with the chat template that the run has learned by."""
    for path in merging.files_beside(subject.folder):
        if path.name not in ("config.json", "generation_config.json"):
            shutil.copyfile(path, folder / path.name)
    if (template := subject.adapter / "chat_template.jinja").is_file():
        shutil.copyfile(template, folder / template.name)


def _loss(model, how: Method, job: Job, examples: list[dict], subject: Subject) -> float:
    """Return a model's loss on the examples, nats a token, computed as evaluations compute it."""
    request = job["request"]
    ready = evaluation.ready(model, job, subject.device, how)
    losses = perplexity.example_losses(ready, examples, request["batch_size"], subject.device, way=how.way)
    return float(losses["nll"].sum() / losses["tokens"].sum())


def _loss_of_file(path: Path, adapter: Path | None, examples: list[dict]) -> float:
    """Return the loss of a GGUF file on the examples, nats a token, through llama.cpp as it comes."""
    positions = max(len(example["input_ids"]) for example in examples)
    with LlamaCpp(path, positions, torch.get_num_threads(), adapter) as model:
        losses = judged_gguf.example_losses(model, examples)
    return float(losses["nll"].sum() / losses["tokens"].sum())


def _refuse_other(loss: float, expected: float, allowed: float, what: str) -> None:
    """Raise UserError where what was loaded again has another loss than it should have."""
    if not abs(loss - expected) <= allowed:
        raise UserError(
            f"shipping: {what}, loaded again, has a loss of {loss:.4f} nats a token where {expected:.4f} was measured "
            f"(takes {allowed:g} of difference); nothing is written"
        )
