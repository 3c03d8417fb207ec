"""The requests of the jobs that ship a run: the ways that its adapter is used in, and the files that are made of it."""

import importlib.util
from typing import Any

from frontier import ways
from frontier.errors import UserError
from frontier.study.embedded import EMBEDDED_MODEL
from frontier.study.requests import accuracy_request, evaluation_request
from frontier.study.runs import parse_run, precision_of

# The licence of the embedded model, which its files do not state.
_EMBEDDED_LICENSE = "apache-2.0"


def check_named(config: dict) -> list[str]:
    """Return the runs whose adapters the configuration names to be shipped; UserError for what is no run's name."""
    names = config["shipping"]["runs"]
    for name in names:
        parse_run(name, config, "config: shipping.runs")
    return names


def ways_of(config: dict, run: str) -> list[str]:
    """Return the ways of a run that are measured by a job of their own: those that are ways for its precision."""
    every = ways.all_ways(config["shipping"]["quantisations"])
    return [name for name in every[1:] if ways.inapplicable(name, precision_of(run)) is None]


def is_gguf(name: str) -> bool:
    """Return whether a way is one of llama.cpp, for which its logits must have been compared."""
    way = ways.way_of(name)
    return way is not None and way.is_gguf


def way_request(config: dict, run: str, name: str) -> dict[str, Any]:
    """Return all that a way's losses depend on beside the adapter, the base, the tokens and the code.

    Raises UserError for what is no way of the run.
    """
    why = ways.inapplicable(name, precision_of(run)) if ways.way_of(name) else "there is no such way"
    if why:
        known = ", ".join(ways_of(config, run))
        raise UserError(f"shipping: {run}: got {name}, but {why}; takes {known}")
    measures = config["accuracy"]["measure"]
    asked = dict(accuracy_request(config, run)) if measures else None
    return dict(evaluation_request(config, run)) | {"way": name, "accuracy": asked} | _installed(is_gguf(name))


def export_request(config: dict, run: str) -> dict[str, Any]:
    """Return all that a comparison of logits depends on beside the adapter, the base, the tokens and the code."""
    return dict(evaluation_request(config, run)) | _installed(True)


def gguf_request(config: dict, run: str, quantisation: str) -> dict[str, Any]:
    """Return all that a GGUF file depends on beside the model, the tokens and the code.

    Raises UserError for a quantisation that is not written here.
    """
    if quantisation != "adapter" and quantisation not in ways.GGUF_FILES:
        raise UserError(
            f"shipping: got {quantisation}, takes a quantisation of llama.cpp: {', '.join(ways.GGUF_FILES)}"
        )
    return dict(evaluation_request(config, run)) | {"quantisation": quantisation} | _installed(True)


def card_request(config: dict, run: str) -> dict[str, Any]:
    """Return what a card says beside what was measured: the run and the licence of its base, if it is known."""
    known = _EMBEDDED_LICENSE if config["model"] == EMBEDDED_MODEL else None
    return {"run": run, "license": config["shipping"]["license"] or known}


def _installed(needed: bool) -> dict[str, Any]:
    """Return, for a job that needs llama.cpp, whether it is installed: once it is, the job is made again."""
    return {"llama_cpp": all(map(importlib.util.find_spec, ways.LLAMA_CPP))} if needed else {}
