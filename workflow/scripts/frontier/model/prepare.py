"""The jobs that make what runs are trained and judged on: the model, its bases, examples, tokens and test problems.

Each job has the name of its rule.
"""

from frontier import records
from frontier.errors import UserError
from frontier.machine.device import open_device
from frontier.machine.phases import Phases
from frontier.model import bases, sources
from frontier.model.data.examples import read_examples
from frontier.model.data.json_lines import read_lines, write_lines
from frontier.model.data.readers import read_test
from frontier.model.data.split import questions
from frontier.model.data.tokens import tokenize, write_tokens
from frontier.model.positions import check_positions
from frontier.model.tokenizer import load_tokenizer, vocabulary_size
from frontier.model.tokenizer_files import check_ids
from frontier.progress import say


def fetch_model(job: dict) -> None:
    """Fetch the model of the request and write its record."""
    request = job["request"]
    record = sources.fetch(request["model"], request["tokenizer_model"])
    for warning in record["warnings"]:
        say(f"warning: {warning}")
    records.write_json(job["output"]["model"], record)


def prepare_base(job: dict) -> None:
    """Convert the model to the precision of the request and write the base's record, with what its phases took."""
    request = job["request"]
    device = open_device(request["device"], request["cpu_threads"])
    phases = Phases(device)
    record = records.read_json(job["input"]["model"])
    with phases("quantise"):
        base = bases.convert(record, request["precision"], device)
    records.write_json(job["output"]["base"], base | {"phases": phases.end()})


def fetch_data(job: dict) -> None:
    """Write the examples of the training and the validation split, and the record that counts them."""
    request, outputs = job["request"], job["output"]
    splits, counts = read_examples(request["data"])
    for name, rows in splits.items():
        write_lines(rows, outputs[name])
    files = {name: records.file_digest(outputs[name]) for name in splits}
    records.write_json(outputs["examples"], {"source": request["data"], "files": files} | counts)


def tokenize_data(job: dict) -> None:
    """Write both splits as tokens, and the record that counts them.

    Raises UserError where `max_length` leaves no example of a split.
    """
    request, inputs, outputs = job["request"], job["input"], job["output"]
    model = records.read_json(inputs["model"])
    tokenizer, vocabulary = load_tokenizer(model), vocabulary_size(model)
    # A borrowed tokenizer's ids are taken modulo the embeddings' rows, a model's own as they are.
    modulus = vocabulary if model["architecture_only"] else max(vocabulary, len(tokenizer))
    record = {"request": request, "examples": records.read_json(inputs["examples"]), "model": model["digest"]}
    for name in ("train", "validation"):
        rows = read_lines(inputs[name])
        examples, counts = tokenize(rows, tokenizer, request["template"], request["max_length"], modulus)
        if not examples:
            raise UserError(
                f"data.max_length: got {request['max_length']}, takes room for an answer: all {len(rows)} {name} "
                "examples are left out, as data.template and question alone are as long"
            )
        rows_of_ids = [example["input_ids"] for example in examples]
        check_ids(rows_of_ids, tokenizer, vocabulary)
        if warning := check_positions(model, max(map(len, rows_of_ids)), "data.max_length"):
            say(f"warning: {name}: {warning}")
        write_tokens(examples, outputs[name])
        record[name] = counts
        say(
            f"{name}: {counts['examples']} examples, {counts['tokens']} tokens; {counts['examples_cut_off']} cut off "
            f"at {request['max_length']} ({counts['tokens_cut_off']} tokens), {counts['examples_left_out']} left out"
        )
    records.write_json(outputs["tokens"], record)


def fetch_test(job: dict) -> None:
    """Write the test split's problems, without those that stand in the training split."""
    known = questions(read_lines(job["input"]["train"]))
    rows = read_test(job["request"]["data"])
    kept = [row for row in rows if row["question"] not in known]
    say(f"test: {len(kept)} problems; {len(rows) - len(kept)} left out, being in training")
    write_lines(kept, job["output"]["test"])
