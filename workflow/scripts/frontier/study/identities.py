"""A digest for each thing that a study's jobs make, over all that it depends on."""

from frontier.records import digest
from frontier.study.requests import (
    accuracy_request,
    data_request,
    evaluation_request,
    test_split,
    tokens_request,
    training_request,
)
from frontier.study.runs import parse_run


def study_identities(config: dict, code: dict[str, str]) -> dict:
    """Return a digest for each thing that jobs make, over all that it depends on, code included.

    `code` has a digest for each script, by its name. The result has `model`, `proof`, `data` and `tokens`; `base` and
    `baseline`, functions of a precision; `training` and `evaluation`, functions of a run's name, on the grid or off it;
    and `accuracy`, a function of either.
    """
    model = digest([config["model"], code["fetch_model"]])
    proof = digest([model, code["prove_model"]])
    data = digest([data_request(config), code["fetch_data"]])
    tokens = digest([model, data, tokens_request(config), code["tokenize_data"]])

    def base(precision: str) -> str:
        return digest([proof, precision, code["prepare_base"]])

    def baseline(precision: str) -> str:
        return digest([tokens, base(precision), evaluation_request(config, precision), code["evaluate"]])

    def training(run: str) -> str:
        return digest([tokens, base(parse_run(run)[0]), training_request(config, run), code["train_adapter"]])

    def evaluation(run: str) -> str:
        return digest([training(run), evaluation_request(config, run), code["evaluate"]])

    def accuracy(name: str) -> str:
        judged = training(name) if "-" in name else digest([tokens, base(name)])
        return digest([judged, accuracy_request(config, name), test_split(config), code["measure_accuracy"]])

    return {
        "accuracy": accuracy,
        "model": model,
        "proof": proof,
        "data": data,
        "tokens": tokens,
        "base": base,
        "baseline": baseline,
        "training": training,
        "evaluation": evaluation,
    }
