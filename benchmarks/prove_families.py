"""Prove the families of `families.py` and write docs/models.md: `python benchmarks/prove_families.py [FAMILY ...]`.

With names, only their rows are printed. Each family is proved on the CPU on its tiny configuration, as `prove_model`
proves a model's shape. The columns of a GPU are those of docs/reference/families/levers.json, which
`python benchmarks/prove_families.py --levers FILE` writes on one.
"""

import argparse
import copy
import json
import sys
from pathlib import Path

import _path  # noqa: F401
import torch
from families import FAMILIES, configuration
from frontier.errors import UserError
from frontier.model.execution import Method, method_for
from frontier.model.targets import linear_layers
from frontier.run.build import build_model
from frontier.run.prove import proof_of
from frontier.study import requests, schema
from transformers import AutoConfig, AutoModelForCausalLM

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "models.md"
LEVERS = ROOT / "docs" / "reference" / "families" / "levers.json"
HEAD = """# Models

<!-- Written by benchmarks/prove_families.py: edit that. -->

Before a model is measured, it is proved (`frontier/run/prove.py`, `resources/proof.json`): on its own shape, a few
layers with random weights, examples in a packed row have the losses that they have alone, which are those of the
model's own forward pass, to rounding; a later token moves no earlier loss; each adapter tensor has the gradient that it
has in the model's own forward pass, with activations computed twice as well. Where packing does not hold, each example
is a row of its own, with the model's own attention: right, and slower, by 1.5 to 4 times where examples are short.
Where nothing holds, one line says which property fails and by how much, before anything is trained. What short examples
do not meet (a window, a chunk, the length from which positions are stretched) is made short in that shape, whatever its
name (`frontier/model/reach.py`); what a packed row holds up to is then known, or none is taken.

The proof of the embedded study's model takes 2.3 s of the study's 6 min 25 s, 0.6% (`make summary` in a clone at
f625297, `seconds` of `resources/proof.json`; two cores of an AMD EPYC, 2026-11-30).

At real sizes: 38 shapes of 0.1 to 36 billion parameters are proved in 0.2 to 2.2 s each on an H200, and Gemma 3n, of
which 25 layers are taken, in 9.4 s ([lines](reference/families/shapes.txt)); on two idle cores of an AMD EPYC a 7B's
shape takes 36 s (`python benchmarks/prove_shapes.py mistral-7b` at f8e3530). What rounding may explain is not one
number for all: each model is held to what moving its weights by their last bit does to its own losses and gradients
(`frontier/run/own_pass.py`), since a ReLU or a cut-off turns one rounding into more.

No list of names decides. These families were tried, each by a tiny configuration (`benchmarks/families.py`)
under transformers {transformers}; a family that transformers gains later is proved in the same way.

- *rows*: packed, or one example a row. *up to*: the longest example, in tokens, for which a packed row holds.
- *head*: the losses come from the matrix of the head, a slice at a time, or from the code of the model (logits that are
  capped or scaled), which takes the memory of all logits.
- *not adapted*: linear layers that `all-linear` leaves out, since an adapter there would not act.
- *NF4*: the share of the parameters, embeddings and head aside, that lie in linear layers, which bitsandbytes
  quantises. Below one half, claims about NF4 are withheld.
- *planned*: whether `results/plan.csv` can foretell it.
- *fused*, *captured*: on a GPU ({device}, at {commit}, [versions](reference/families/README.md)), whether its kernels
  are fused and its steps captured.

| family | rows | up to | head | not adapted | NF4 | planned | fused | captured | refused |
|---|---|--:|---|---|--:|---|---|---|---|
"""


def config_of(family: str):
    options = copy.deepcopy(configuration(family))
    return AutoConfig.for_model(options.pop("model_type"), **options)


def four_bit_share(config) -> float:
    """Return the share of parameters, embeddings and head aside, that lie in the decoder's linear layers."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    outside = {id(one.weight) for one in model.modules() if isinstance(one, torch.nn.Embedding)}
    if head := model.get_output_embeddings():
        outside |= {id(one) for one in head.parameters()}
    total = sum(one.numel() for one in model.parameters() if id(one) not in outside)
    # A weight that several layers share is one.
    weights = {id(one.weight): one.weight.numel() for one in linear_layers(model).values()}
    return sum(weights.values()) / total


def request_for() -> dict:
    study = schema.resolve(
        {
            "model": {"source": "architecture", "config": {"model_type": "llama"}},
            "data": {"source": "reasoning-gym", "train_examples": 8, "validation_examples": 8},
            "steps": 1,
        }
    )
    return requests.training_request(study, "bf16-r8-s0")


def is_planned(config) -> bool:
    from frontier.model import packing
    from frontier.plan.peak import predict_peak
    from frontier.plan.step.emulated_card import EmulatedCard

    row = packing.collate([{"input_ids": [5] * 32, "labels": [5] * 32}] * 4)
    try:
        peak = predict_peak(config, request_for(), [row], [32] * 4, EmulatedCard(True))
    # What a plan cannot trace raises errors of many kinds.
    except Exception:
        return False
    return peak.allocated > 0


def levers_of(family: str, device: torch.device) -> dict:
    """Return which levers a run of a family uses on a GPU, by building it there as a run does."""
    from frontier.model.card import Card

    config = config_of(family)
    try:
        proof = proof_of(config, device)
        method = method_for(proof, 64)
        with device:
            base = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).requires_grad_(False)
        _, levers = build_model(base, request_for(), torch.bfloat16, Card(device), method=Method(*method))
    except UserError as error:
        return {"refused": str(error)}
    return {"way": proof["ways"][0], "fused": levers["fused_kernels"], "captured": levers["cuda_graphs"]}


def row_of(family: str, levers: dict) -> str:
    config = config_of(family)
    known = levers.get("families", {}).get(family, {})
    on_card = [{True: "yes", False: "no"}.get(known.get(name), "") for name in ("fused", "captured")]
    share = f"{four_bit_share(config):.0%}"
    try:
        proof = proof_of(config, torch.device("cpu"))
    except UserError as error:
        cells = [family, "", "", "", "", share, "", *on_card, str(error).removeprefix("model: ")]
        return "| " + " | ".join(cells) + " |"
    way = proof["ways"][0]
    rows = "packed" if way["rows"] == "packed" else "one example"
    planned = "yes" if is_planned(config) else "no"
    left = ", ".join(proof["left_out"])
    cells = [family, rows, str(way["up_to"] or ""), way["head"], left, share, planned, *on_card, ""]
    return "| " + " | ".join(cells) + " |"


def page(levers: dict) -> str:
    import transformers

    rows = []
    for family in FAMILIES:
        rows.append(row_of(family, levers))
        print(rows[-1], file=sys.stderr, flush=True)
    head = HEAD.format(
        transformers=transformers.__version__,
        device=levers.get("device", "not run"),
        commit=levers.get("commit", "no commit"),
    )
    return head + "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*")
    parser.add_argument("--levers", help="write the columns of the GPU that is here to this file")
    arguments = parser.parse_args()
    levers = json.loads(LEVERS.read_text("utf-8")) if LEVERS.exists() else {}
    if arguments.levers:
        device = torch.device("cuda", 0)
        found = {family: levers_of(family, device) for family in arguments.families or FAMILIES}
        record = {"device": torch.cuda.get_device_name(device), "families": found}
        Path(arguments.levers).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    elif arguments.families:
        for family in arguments.families:
            print(row_of(family, levers), flush=True)
    else:
        PAGE.write_text(page(levers), encoding="utf-8")


if __name__ == "__main__":
    main()
