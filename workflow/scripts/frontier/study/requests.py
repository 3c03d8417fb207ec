"""The request of each job: the part of the configuration that its result depends on."""

from pathlib import Path
from typing import cast

from frontier.data_types import DataSource
from frontier.model.data.files import example_files
from frontier.model.files import used_files
from frontier.outcome_types import Status
from frontier.record_types import AnyRecord
from frontier.request_types import (
    AccuracyRequest,
    DataRequest,
    DeviceRequest,
    EvaluationRequest,
    Limits,
    TrackedBudget,
    TrainingRequest,
)
from frontier.study.keys.configuration import names_of
from frontier.study.runs import parse_run, settings
from frontier.token_types import TokensRequest

_TRAINING = names_of("training")
_TOKENS = names_of("tokens")
# Accuracy alone is measured on test problems, so that naming them retrains nothing.
_TEST = names_of("test")


def data_files(config: dict) -> list[str]:
    """Return the files that the data are read from, for Snakemake to watch."""
    named = [config["data"][key] for key in ("train_file", "validation_file") if config["data"].get(key)]
    return [file for path in named for file in example_files(path)]


def test_files(config: dict) -> list[str]:
    """Return the files that test problems are read from, for Snakemake to watch."""
    path = config["data"].get("test_file")
    return example_files(path) if path else []


def model_files(config: dict) -> list[str]:
    """Return the files that the model is loaded from, for Snakemake to watch; none where it is fetched."""
    folder = config["model"].get("path")
    return [str(path) for path in used_files(Path(folder))] if folder else []


def shape_files(config: dict) -> list[str]:
    """Return those of `model_files` that a plan reads."""
    return [file for file in model_files(config) if Path(file).name == "config.json"]


def data_request(config: dict) -> DataRequest:
    """Return all that the examples depend on beside the code, test problems aside."""
    data = {key: value for key, value in config["data"].items() if key not in (*_TOKENS, *_TEST)}
    return {"data": cast(DataSource, _one_name(data))}


def test_request(config: dict) -> dict:
    """Return all that the test problems depend on beside the training examples and the code."""
    return {"data": _one_name(config["data"])}


def _one_name(data: dict) -> dict:
    """Return the section in one order, with one of a source's two names, so that either makes nothing again.

    Snakemake compares parameters by their text.
    """
    return dict(sorted(data.items())) | ({"source": "jsonl"} if data["source"] == "file" else {})


def tokens_request(config: dict) -> TokensRequest:
    """Return all that the tokens depend on beside the model, the examples and the code."""
    return cast(TokensRequest, {key: config["data"][key] for key in _TOKENS if key in config["data"]})


def device_request(config: dict) -> DeviceRequest:
    """Return the device and the threads that each measurement depends on."""
    return {"device": config["device"], "cpu_threads": config["cpu_threads"]}


def limits(config: dict) -> Limits:
    """Return what bounds a job without changing its result: the budget, and how often a training is saved."""
    kept = {key: config[key] for key in ("checkpoint_minutes", "checkpoint_steps")}
    return config["budget"] | kept | base_on_of(config)


def base_on_of(config: dict) -> dict[str, str]:
    """Return where the base lies, unless that is the device: a study that does not ask has the identity it had."""
    return {} if config["base_on"] == "device" else {"base_on": config["base_on"]}


def without_trackers(config: dict) -> dict:
    """Return the configuration without what is told of trainings to others, or asked of a card: no result needs it."""
    return {key: value for key, value in config.items() if key not in ("report_to", "ask")}


def tracked_budget(config: dict, record: AnyRecord | None, skips: bool = False) -> TrackedBudget | None:
    """Return the budget that a job's parameters hold: where it differs from last time, Snakemake runs the job again.

    `record` is what the job has left, if anything. A job that ended well is given the budget that it ran under, so that
    it is not run again; so is one that did not, until the budget changes. A job that `skips` hopeless runs has the key
    skip_hopeless among its budget: a run that was given up on a prediction is run again once that key is off.
    """
    now = config["budget"] | ({"skip_hopeless": True} if skips and config["skip_hopeless"] else {})
    if record is None:
        return now
    outcome, tracked = record["outcome"], record.get("tracked")
    under = {key: value for key, value in tracked.items() if key != "skip_hopeless"} if tracked else {}
    stands = outcome.get("basis") != "predicted" and under == config["budget"]
    return tracked if outcome.get("status") == Status.OK or stands else now


def training_request(config: dict, run: str) -> TrainingRequest:
    """Return all that a run's training depends on beside the model, the tokens and the code."""
    (precision, rank, seed, _), own = parse_run(run, config), settings(config, run)
    lora = own["lora"] | {"alpha": _alpha(own["lora"]["alpha"], rank)}
    request = device_request(config) | {
        "run": run,
        "precision": precision,
        "rank": rank,
        "seed": seed,
        "lora": lora,
        "training": {key: own[key] for key in _TRAINING},
        "compute_dtype": own["compute_dtype"],
        **processes_of(config),
        **base_on_of(config),
    }
    return cast(TrainingRequest, request)


def evaluation_request(config: dict, name: str) -> EvaluationRequest:
    """Return all that an evaluation depends on beside the model, the adapter, the tokens and the code.

    `name` is a run's or, for a base model without an adapter, a precision.
    """
    return device_request(config) | {"name": name} | config["evaluation"]


def test_split(config: dict) -> str | None:
    """Return the file or split of test problems that the configuration names; None where it names none."""
    return next((config["data"][key] for key in _TEST if config["data"].get(key)), None)


def measured_split(config: dict) -> str | None:
    """Return the split that accuracy is to be measured on, `test` or `validation`; None where it is not asked for."""
    return ("test" if test_split(config) else "validation") if config["accuracy"]["measure"] else None


def accuracy_request(config: dict, name: str) -> AccuracyRequest:
    """Return all that an accuracy depends on beside the model, the adapter, the problems and the code.

    `name` is a run's or, for a base model without an adapter, a precision.
    """
    how = {key: value for key, value in config["accuracy"].items() if key != "measure"}
    precision, rank, seed = parse_run(name, config)[:3] if "-" in name else (name, None, None)
    request = (
        {"name": name, "precision": precision, "rank": rank, "seed": seed}
        | {"split": "test" if test_split(config) else "validation"}
        | device_request(config)
        | tokens_request(config)
        | how
    )
    return cast(AccuracyRequest, request)


def processes_of(config: dict) -> dict:
    """Return the number of processes as a part of a request.

    Left out for one process, so that identities made before this key existed stay valid.
    """
    return {"processes": config["processes"]} if config["processes"] > 1 else {}


def _alpha(rule, rank: int) -> float:
    """Return LoRA's alpha for a rank; `rule` is a number, or a multiple of the rank such as "2r"."""
    return float(rule[:-1]) * rank if isinstance(rule, str) else float(rule)
