"""Prove a model before it is measured: resources/proof.json."""

import bisect
import time
from collections.abc import Callable

import torch
from transformers import AutoConfig

from frontier import records
from frontier.errors import UserError, first_line
from frontier.machine.device import open_device
from frontier.machine.environment import device_and_versions
from frontier.model import cache, reach, shape
from frontier.model.execution import ALONE, CANDIDATES, ROWS
from frontier.progress import say
from frontier.run.proof import PROPERTIES, Proof, Unequal, prove
from frontier.run.proof_material import LENGTHS, made_up

# How much wider than usual the head's weights are spread, in turn: a family may divide its logits.
_GAINS = (1.0, 8.0, 64.0)
# Tokens: a prompt of five and a few to learn, in the shortest of a proof's examples.
_LEAST_POSITIONS = 16


def prove_model(job: dict) -> None:
    """Write how a fetched model's losses are computed here, and what was shown of that; UserError where nothing is."""
    request = job["request"]
    device = open_device(request["device"], request["cpu_threads"])
    model = records.read_json(job["input"]["model"])
    # TF32 would round products of float32 to ten bits.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    start = time.perf_counter()
    config = AutoConfig.from_pretrained(cache.CACHE / model["folder"], local_files_only=True)
    found = proof_of(config, device)
    seconds = time.perf_counter() - start
    record = {"model": model["digest"]} | device_and_versions(device) | {"seconds": seconds}
    records.write_json(job["output"]["proof"], record | found)
    way = found["ways"][0]
    rows = "packed rows" if way["rows"] == "packed" else "one example a row"
    say(f"proved in {seconds:.1f} s: {rows}, {way['attention']} attention, head by {way['head']}")


def proof_of(config, device: torch.device) -> dict:
    """Return the ways in which a model of this transformers config has its own losses, and what was shown of them.

    What is tried is its shape: the layers that hold one of each kind, a smaller vocabulary, caps of scores low enough
    to be met, and every reach in tokens (a window, say) made short enough for the examples to pass it. A packed row
    that holds for examples within their reach alone, however long the row, is a way up to there.
    """
    whole, layers = _shape(config)
    reaches = reach.reaches_of(whole)
    short = reach.cut(whole, reaches)

    def proved(tried, longest: int, ways=CANDIDATES) -> Proof:
        examples = made_up(tried.get_text_config().vocab_size, _special_tokens(config), _lengths(config, longest))
        return _prove(tried, device, examples, ways)

    try:
        proof = proved(short, max(LENGTHS))
    except UserError:
        if not reaches:
            raise
        # With a shorter reach it is no model; of what passes its own, rows of single examples alone are proved.
        proof, reaches = proved(whole, max(LENGTHS), ALONE), {}
    ways = list(proof.ways)
    if reaches and not _is_packed(proof):
        within = proved(short, reach.SHORT, ROWS)
        if _is_packed(within):
            up_to = _least_reach(whole, reaches, lambda tried: proved(tried, max(LENGTHS), ROWS))
            ways = [within.ways[0]._replace(up_to=up_to), *ways] if up_to else ways
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


def _is_packed(proof: Proof) -> bool:
    return bool(proof.ways) and proof.ways[0].rows == "packed"


def _least_reach(whole, reaches: dict[tuple, int], proved: Callable[[object], Proof]) -> int | None:
    """Return the least reach past which a packed row does not hold; None where it does not with none of them passed.

    With that one cut, and all lower ones, it fails.
    """

    def fails(most: int) -> bool:
        try:
            return not _is_packed(proved(reach.cut(whole, [place for place, size in reaches.items() if size <= most])))
        except UserError:
            return True

    # Each is above SHORT. With all of them cut it is known to fail.
    sizes = [reach.SHORT, *sorted(set(reaches.values()))]
    first = bisect.bisect_left(sizes[:-1], True, key=fails)
    return sizes[first] if first else None


def _shape(config) -> tuple:
    """Return the config of what is tried, and of how many layers it is; UserError where no model is made of it."""
    try:
        low = shape.with_few_tokens(shape.with_low_caps(config))
        layers = shape.fewest_layers(low)
        return shape.shortened(low, layers), layers
    # A family refuses a configuration by whatever error it likes.
    except Exception as error:
        raise UserError(_not_built(config.model_type, error)) from error


def _not_built(kind: str, error: Exception) -> str:
    return (
        f"model: transformers cannot build {kind} as a causal language model: {type(error).__name__}: "
        f"{first_line(error)}; use a model whose config.json it takes"
    )


def _lengths(config, longest: int) -> tuple[int, ...]:
    """Return how long the examples of a proof are, in tokens: none longer than `longest` or a model's positions."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if isinstance(positions, int) and positions < _LEAST_POSITIONS:
        raise UserError(
            f"model: {config.model_type} cannot be proved: it has {positions} positions, and examples of fewer than "
            f"{_LEAST_POSITIONS} tokens show nothing; use a model with more"
        )
    most = min(longest, positions) if isinstance(positions, int) else longest
    return tuple(length * most // max(LENGTHS) for length in LENGTHS)


def _prove(config, device: torch.device, examples: list[dict], ways=CANDIDATES) -> Proof:
    """Return the proof of a shape on the device, or in the host's memory where the device has no room for it."""
    try:
        try:
            return _prove_with_effect(config, device, examples, ways)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return _prove_with_effect(config, torch.device("cpu"), examples, ways)
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


def _prove_with_effect(config, device: torch.device, examples: list[dict], ways) -> Proof:
    """Return the proof with the least gain of the head at which a token moves the losses; Unequal where none does."""
    for gain in _GAINS[:-1]:
        try:
            return prove(shape.lively(config, device, gain), examples, ways)
        except Unequal:
            continue
    return prove(shape.lively(config, device, _GAINS[-1]), examples, ways)


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
