"""The jobs that make what runs are trained and judged on: the model, its bases, examples, tokens and test problems.

Each job has the name of its rule.
"""

from typing import Any

from frontier import records
from frontier.data_types import TokensRequest
from frontier.errors import UserError
from frontier.machine.device import open_device
from frontier.machine.phases import Phases
from frontier.model import bases, sources
from frontier.model.data import differences, truths
from frontier.model.data.examples import read_examples
from frontier.model.data.json_lines import read_lines, write_lines
from frontier.model.data.readers import read_test
from frontier.model.data.split import questions
from frontier.model.data.tokens import tokenize, write_tokens
from frontier.model.positions import check_positions
from frontier.model.tokenizer import load_encoder
from frontier.progress import say
from frontier.request_types import BaseRequest, DataRequest, Job, ModelRequest


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
    for name, rows in splits.items():
        write_lines(rows, outputs[name])
    files = {name: records.file_digest(outputs[name]) for name in splits}
    records.write_json(outputs["examples"], {"source": request["data"], "files": files} | counts)
    say(
        f"examples: {len(splits['train'])} to train on, {len(splits['validation'])} to validate on; "
        f"{counts['duplicates_left_out']} left out that repeat a question, {counts['examples_not_taken']} beyond "
        f"those asked for; {truths.told(counts)}"
    )


def tokenize_data(job: Job[TokensRequest]) -> None:
    """Write both splits as tokens, and the record that counts them.

    Raises UserError where `max_length` leaves no example of a split.
    """
    request, inputs, outputs = job["request"], job["input"], job["output"]
    model = records.read_json(inputs["model"])
    encoder, most = load_encoder(model, request["template"]), request["max_length"]
    record = {"request": request, "examples": records.read_json(inputs["examples"]), "model": model["digest"]}
    for name in ("train", "validation"):
        rows = read_lines(inputs[name])
        examples, counts = tokenize(rows, encoder, most)
        if not examples:
            raise UserError(
                f"data.max_length: got {most}, takes room for an answer: all {len(rows)} {name} "
                "examples are left out, as data.template and question alone are as long"
            )
        longest = max(len(example["input_ids"]) for example in examples)
        if warning := check_positions(model, longest, "data.max_length"):
            say(f"warning: {name}: {warning}")
        write_tokens(examples, outputs[name])
        record[name] = counts
        say(
            f"{name}: {counts['examples']} examples, {counts['tokens']} tokens; {counts['examples_cut_off']} cut off "
            f"at {most} ({counts['tokens_cut_off']} tokens), {counts['examples_left_out']} left out"
            f"{differences.told(counts)}"
        )
    records.write_json(outputs["tokens"], record)


def fetch_test(job: Job[dict[str, Any]]) -> None:
    """Write the test split's problems, without those that stand in the training split."""
    known = questions(read_lines(job["input"]["train"]))
    rows = read_test(job["request"]["data"])
    kept = [row for row in rows if row["question"] not in known]
    found = truths.told(truths.count_truths(kept))
    say(f"test: {len(kept)} problems; {len(rows) - len(kept)} left out, being in training; {found}")
    write_lines(kept, job["output"]["test"])
