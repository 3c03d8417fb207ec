"""Prove a model before it is measured: resources/proof.json."""

import time

import torch
from transformers import AutoConfig

from frontier import records
from frontier.errors import UserError, first_line
from frontier.machine.device import open_device
from frontier.machine.environment import device_and_versions
from frontier.model import cache, shape
from frontier.progress import say
from frontier.run.proof import PROPERTIES, Proof, Unequal, prove
from frontier.run.proof_material import made_up

# How much wider than usual the head's weights are spread, in turn: a family may divide its logits.
_GAINS = (1.0, 8.0, 64.0)


def prove_model(job: dict) -> None:
    """Write how a fetched model's losses are computed here, and what was shown of that; UserError where nothing is."""
    request = job["request"]
    device = open_device(request["device"], request["cpu_threads"])
    model = records.read_json(job["input"]["model"])
    # TF32 would round products of float32 to ten bits.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    start = time.perf_counter()
    try:
        config = AutoConfig.from_pretrained(cache.CACHE / model["folder"], local_files_only=True)
        found = proof_of(config, device)
    except (ValueError, KeyError, OSError) as error:
        line = f"model: transformers cannot build it as a causal language model: {first_line(error)}"
        raise UserError(line) from error
    seconds = time.perf_counter() - start
    record = {"model": model["digest"]} | device_and_versions(device) | {"seconds": seconds}
    records.write_json(job["output"]["proof"], record | found)
    way = found["ways"][0]
    rows = "packed rows" if way["rows"] == "packed" else "one example a row"
    say(f"proved in {seconds:.1f} s: {rows}, {way['attention']} attention, head by {way['head']}")


def proof_of(config, device: torch.device) -> dict:
    """Return the ways in which a model of this transformers config has its own losses, and what was shown of them.

    What is tried is its shape: the layers that hold one of each kind, caps of scores low enough to be met, and every
    reach in tokens (a window, say) made short enough for the examples to pass it. A packed row that holds up to the
    reach alone is a way up to there.
    """
    config = shape.with_low_caps(config)
    short, reach = shape.with_short_reach(config)
    layers = shape.fewest_layers(short)
    examples = made_up(config.get_text_config().vocab_size, _special_tokens(config))
    proof = _prove(shape.shortened(short, layers), device, examples)
    ways = list(proof.ways)
    if reach is not None and not (ways and ways[0].rows == "packed"):
        within = _prove(shape.shortened(config, layers), device, examples)
        ways = [one._replace(up_to=reach) for one in within.ways if one.rows == "packed" or not ways] + ways
    if not ways:
        raise UserError(_refusal(config.model_type, proof))
    return {
        "layers": layers,
        "layers_in_all": config.get_text_config().num_hidden_layers,
        "ways": [one._asdict() for one in ways],
        "sizes": proof.sizes,
        "failed": {" / ".join(way[:3]): why for way, why in proof.failures.items()},
        "read_directly": proof.read_directly,
        "left_out": proof.left_out,
    }


def _prove(config, device: torch.device, examples: list[dict]) -> Proof:
    """Return the proof of a shape on the device, or in the host's memory where the device has no room for it."""
    try:
        try:
            return _prove_with_effect(config, device, examples)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return _prove_with_effect(config, torch.device("cpu"), examples)
    except Unequal as error:
        raise UserError(
            f"model: {config.model_type} cannot be proved: its shape with random weights shows nothing ({error}); "
            "use a model of another family"
        ) from error
    except UserError:
        raise
    # Whatever its own code raises, before anything of this project's is in it, is the model's.
    except Exception as error:
        raise UserError(
            f"model: {config.model_type}'s own forward pass fails on {device.type}: {type(error).__name__}: "
            f"{first_line(error)}"
        ) from error


def _prove_with_effect(config, device: torch.device, examples: list[dict]) -> Proof:
    """Return the proof with the least gain of the head at which a token moves the losses; Unequal where none does."""
    for gain in _GAINS[:-1]:
        try:
            return prove(shape.lively(config, device, gain), examples)
        except Unequal:
            continue
    return prove(shape.lively(config, device, _GAINS[-1]), examples)


def _refusal(kind: str, proof: Proof) -> str:
    """Return one line for a model that no way computes: the property that fails in the model's own, and by how much."""
    way, why = list(proof.failures.items())[-1]
    name = why.split(",")[0].split()[-1]
    meant = f": {PROPERTIES[name]}" if name in PROPERTIES else ""
    return (
        f"model: {kind} is not measured, since its losses here would not be its own ({why}, with {' / '.join(way[:3])})"
        f"{meant}; use a model of another family"
    )


def _special_tokens(config) -> set[int]:
    """Return the ids that a config names (pad, image and the like), which stand for more than text."""
    found = set()
    for part in (config, config.get_text_config()):
        for name, value in vars(part).items():
            if name.endswith(("token_id", "token_index")):
                found |= set(value if isinstance(value, list) else [value])
    return {one for one in found if isinstance(one, int)}
