"""A digest for each thing that a study's jobs make, over all that it depends on."""

from collections.abc import Mapping
from typing import Any

from frontier.records import digest
from frontier.study.requests import (
    accuracy_request,
    data_request,
    evaluation_request,
    test_split,
    tokens_request,
    training_request,
)
from frontier.study.runs import precision_of


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

    def judging(name: str) -> list:
        return [_nameless(evaluation_request(config, name)), code["evaluate"]]

    def baseline(precision: str) -> str:
        return digest([tokens, base(precision), *judging(precision)])

    def training(run: str) -> str:
        asked = _nameless(training_request(config, run))
        return digest([tokens, base(precision_of(run)), asked, code["train_adapter"]])

    def evaluation(run: str) -> str:
        return digest([training(run), *judging(run)])

    def accuracy(name: str) -> str:
        judged = training(name) if "-" in name else digest([tokens, base(name)])
        asked = [_nameless(accuracy_request(config, name)), test_split(config)]
        return digest([judged, *asked, code["measure_accuracy"]])

    return {"model": model, "proof": proof, "data": data, "tokens": tokens, "base": base, "baseline": baseline} | {
        "training": training,
        "evaluation": evaluation,
        "accuracy": accuracy,
    }


def _nameless(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request without the name that its run has: what is trained is the same under any."""
    return {key: value for key, value in request.items() if key not in ("run", "name")}
