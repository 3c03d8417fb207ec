"""A base as the world knows it: by its hub id and revision, its package, or a folder's name, each with a digest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frontier.material_types import ModelRecord


def name_of(source: Mapping[str, Any]) -> str:
    """Return what a config's `model` section is called elsewhere: an id of the hub, a package's file, a folder."""
    if source["source"] == "hub":
        return source["id"]
    if source["source"] == "package":
        return f"{source['package']}=={source['version']}/{source['file']}"
    return Path(source["path"]).name


def revision_of(model: ModelRecord) -> str | None:
    """Return the hub's revision of a base, or, where it is not of the hub, the digest of its files."""
    source: Mapping[str, Any] = model["source"]
    return source.get("revision") if source["source"] == "hub" else f"sha256:{model['digest']}"


def for_peft(model: ModelRecord) -> dict[str, Any]:
    """Return the keys of adapter_config.json that name the base."""
    return {"base_model_name_or_path": name_of(model["source"]), "revision": revision_of(model)}


def merged_card(model: ModelRecord, which: str, loss: float, request: Mapping[str, Any]) -> str:
    """Return the README of a merged model's folder: what it was made of and from which base."""
    base, revision = name_of(model["source"]), revision_of(model)
    of = f" ({revision})" if revision else ""
    because = {
        "original": "the original 16-bit weights of that base",
        "dequantised": "the base's quantised weights, dequantised: that is what the adapter was trained over, and here "
        "it is better than over the original ones",
    }
    return (
        f"# {request['name']}, merged\n\nThe LoRA adapter of the run {request['name']} in {base}{of}, merged into "
        f"{because[which]}.\n\nLoaded again by transformers, it has a loss of {loss:.4f} nats a token on the study's "
        "validation examples.\n"
    )
