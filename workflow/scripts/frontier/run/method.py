"""How a run computes its losses: as a proof that holds for its device and libraries says."""

from typing import Any

import torch

from frontier.errors import UserError
from frontier.jobs.proving import holding_proof
from frontier.machine.environment import device_and_versions
from frontier.model.execution import Method, method_for
from frontier.proof_types import ProofInShort, ProofRecord, Shown, Way
from frontier.request_types import DeviceRequest
from frontier.run.sharding import Share


def proof_here(inputs: dict[str, Any], request: DeviceRequest, device: torch.device) -> ProofRecord:
    """Return the record of a proof of the job's model that holds on the device; UserError where there is none."""
    return holding_proof(inputs, request, device_and_versions(device))


def method_of(proof: ProofRecord, examples: list[dict]) -> Method:
    """Return how the losses of examples, as tokens, are computed by a proof."""
    return method_for(proof, max(len(example["input_ids"]) for example in examples))


def refuse_unshared(method: Method, share: Share) -> None:
    """Raise UserError where several processes would share a model whose examples are computed one at a time."""
    if share.processes > 1 and method.way and method.way.rows != "packed":
        raise UserError(
            f"processes: got {share.processes}, takes 1 for this model: its examples are rows of their own, and "
            "processes that share a model must take as many rows as each other"
        )


def in_short(proof: ProofRecord, method: Method) -> ProofInShort:
    """Return what a training's record says of its model's proof: the way that was taken, and what was shown of it."""
    assert method.way is not None
    shown: Shown = {key: proof[key] for key in Shown.__annotations__}  # type: ignore[assignment, literal-required]
    way: Way = {"rows": method.way.rows, "attention": method.way.attention, "head": method.way.head}
    return {"way": way, **shown}
