"""The jobs that make what runs are trained and judged on: the model, its bases, examples, tokens and test problems.

Each job has the name of its rule.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from frontier import records
from frontier.data_types import Example
from frontier.errors import UserError
from frontier.machine.device import open_device
from frontier.machine.phases import Phases
from frontier.model import bases, sources
from frontier.model.data import chat_tokens, differences, templates, told, truths
from frontier.model.data.chat import ChatEncoder
from frontier.model.data.encoding import Encoder
from frontier.model.data.examples import read_examples
from frontier.model.data.json_lines import read_lines, write_lines
from frontier.model.data.readers import place_in_source, read_test
from frontier.model.data.rows import answer_of, in_form_of, prompt_of
from frontier.model.data.tokens import tokenize, write_tokens
from frontier.model.positions import check_positions
from frontier.model.tokenizer import load_encoder
from frontier.progress import say
from frontier.request_types import BaseRequest, DataRequest, Job, ModelRequest
from frontier.token_types import TokensRequest


def fetch_model(job: Job[ModelRequest]) -> None:
    """Fetch the model of the request and write its record."""
    request = job["request"]
    record = sources.fetch(request["model"], request["tokenizer_model"])
    for warning in record["warnings"]:
        say(f"warning: {warning}")
    records.write_json(job["output"]["model"], record)


def prepare_base(job: Job[BaseRequest]) -> None:
    """Convert the model to the precision of the request and write the base's record, with what its phases took."""
    request = job["request"]
    device = open_device(request["device"], request["cpu_threads"])
    phases = Phases(device)
    record, proof = (records.read_json(job["input"][name]) for name in ("model", "proof"))
    with phases("quantise"):
        base = bases.convert(record, request["precision"], device, proof["read_directly"])
    records.write_json(job["output"]["base"], base | {"phases": phases.end()})


def fetch_data(job: Job[DataRequest]) -> None:
    """Write the examples of the training and the validation split, and the record that counts them."""
    request, outputs = job["request"], job["output"]
    splits, counts = read_examples(request["data"])
    train, validation = (len(splits[name]) for name in ("train", "validation"))
    for name, rows in splits.items():
        write_lines(rows, outputs[name])
    files = {name: records.file_digest(outputs[name]) for name in splits}
    records.write_json(outputs["examples"], {"source": request["data"], "files": files} | counts)
    for line in told.lines(counts, train, validation, truths.told(counts)):
        say(line)
    if job.get("accuracy") == "validation":
        _tell_if_unmarked("validation", splits["validation"])


def tokenize_data(job: Job[TokensRequest]) -> None:
    """Write both splits as tokens, and the record that counts them.

    Raises UserError where `max_length` leaves no example of a split.
    """
    request, inputs, outputs = job["request"], job["input"], job["output"]
    model = records.read_json(inputs["model"])
    splits = {name: read_lines(inputs[name]) for name in ("train", "validation")}
    encoder = load_encoder(model, request["template"], [*splits["train"], *splits["validation"]])
    most = request["max_length"]
    record = {"request": request, "examples": records.read_json(inputs["examples"]), "model": model["digest"]}
    record["template"] = templates.describe(encoder.kind, encoder.template)
    has_own = bool(encoder.tokenizer.chat_template)
    if line := templates.note(request["template"], encoder.kind, encoder.template, has_own):
        say(line)
    for name, rows in splits.items():
        where = partial(_place, rows, record["examples"], inputs[name])
        examples, counts, differing = _tokens(rows, encoder, request, where)
        if not examples:
            raise UserError(_nothing_left(name, len(rows), counts, most))
        longest = max(len(example["input_ids"]) for example in examples)
        if warning := check_positions(model, longest, "data.max_length"):
            say(f"warning: {name}: {warning}")
        write_tokens(examples, outputs[name])
        record[name] = counts
        say(
            f"{name}: {counts['examples']} examples, {counts['tokens']} tokens, {counts['answer_tokens']} "
            f"({counts['answer_tokens'] / counts['tokens']:.0%}) of them with loss; {counts['examples_cut_off']} cut "
            f"off at {most} ({counts['tokens_cut_off']} tokens), {counts['examples_left_out']} left out{differing}"
        )
    records.write_json(outputs["tokens"], record)


def _tell_if_unmarked(split: str, examples: list[Example]) -> None:
    """Say at once, before any training, that an accuracy that was asked for has no answer to mark."""
    if all(truths.truth(answer_of(example)) is None for example in examples):
        say(f"warning: {truths.nothing_to_mark(split, len(examples))}")


def _place(rows: list[Example], examples: Mapping[str, Any], path: str, index: int) -> str:
    """Return where one of a split's examples stands: in the user's data, or in `path` if it is there no longer.

    `examples` is the record of all examples.
    """
    try:
        found = place_in_source(rows[index], examples["source"])
    except (UserError, OSError):
        found = None
    return found or f"{path}:{index + 1}"


def _nothing_left(split: str, rows: int, counts: dict, max_length: int) -> str:
    """Return the line for a split of which no example is left."""
    if unlearned := counts.get("nothing_learned"):
        return (
            f"data: all {rows} {split} examples are left out, {unlearned} of them as weight: 0 is on each turn that "
            "data.loss_turns has learned; takes turns of weight 1, or without one"
        )
    return (
        f"data.max_length: got {max_length}, takes room for an answer: all {rows} {split} examples are left out, as "
        "what is asked, with data.template around it, is as long alone"
    )


def _tokens(
    rows: list[Example], encoder: Encoder | ChatEncoder, request: TokensRequest, where: Callable[[int], str]
) -> tuple[list[dict], dict, str]:
    """Return a split's tokens, their counts, and what differs, in the words of a printed line."""
    most = request["max_length"]
    if isinstance(encoder, ChatEncoder):
        examples, counts = chat_tokens.tokenize_chats(rows, encoder, most, request.get("loss_turns", "all"), where)
        return examples, counts, chat_tokens.told(counts)
    examples, counts = tokenize(rows, encoder, most)
    return examples, counts, differences.told(counts)


def fetch_test(job: Job[dict[str, Any]]) -> None:
    """Write the test split's problems, without those that stand in the training split."""
    train = read_lines(job["input"]["train"])
    known = {prompt_of(example) for example in train}
    seen: Counter = Counter()
    rows = [in_form_of(train[0], row.example) for row in read_test(job["request"]["data"], seen)]
    kept = [example for example in rows if prompt_of(example) not in known]
    found = truths.told(truths.count_truths(kept))
    known_too = f"{len(rows) - len(kept)} left out, being in training"
    say(f"test: {len(kept)} problems; {', '.join([known_too, *told.left_out(seen)])}; {found}")
    if job.get("accuracy"):
        _tell_if_unmarked("test", kept)
    write_lines(kept, job["output"]["test"])
