"""Small studies, models and cards for the tests of the planner."""

import dataclasses

from frontier.model import packing
from frontier.plan import batches, roofline
from frontier.plan.judging import Judging
from frontier.plan.peak import Peak, predict_peak
from frontier.plan.step import emulated_card
from frontier.study import cards, requests, schema
from transformers import AutoConfig

CARD = emulated_card.EmulatedCard(True, (8, 9))

CPU = emulated_card.EmulatedCard(False)

SMALL = {
    "model_type": "mistral",
    "vocab_size": 1000,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "sliding_window": None,
    "tie_word_embeddings": False,
}


def shape(layers: int, **changes):
    return AutoConfig.for_model(**SMALL | changes | {"num_hidden_layers": layers})


def request(precision="nf4", rank=8, batch=4, **training) -> dict:
    study = schema.resolve(
        {
            "model": {"source": "architecture", "config": {"model_type": "llama"}},
            "data": {"source": "reasoning-gym", "train_examples": 8, "validation_examples": 8},
            "precisions": [precision],
            "ranks": [rank],
            "steps": 3,
            "batch_size": batch,
            **training,
        }
    )
    return requests.training_request(study, f"{precision}-r{rank}-s0")


def rows(count: int, length: int) -> list[dict]:
    return [{"input_ids": [1] * length, "labels": [-100] * (length // 2) + [1] * (length - length // 2)}] * count


def peak(layers: int, wanted: dict, device=CARD, length=64) -> Peak:
    examples = rows(wanted["training"]["batch_size"], length)
    return predict_peak(shape(layers), wanted, [packing.collate(examples)], batches.lengths(examples), device)


def judging(planner, **accuracy) -> Judging:
    """What judges a planner's runs by the workflow's defaults."""
    study = small_study(accuracy=accuracy)
    return Judging(planner, study["evaluation"], study["accuracy"])


def rates(name: str) -> dict:
    return dataclasses.asdict(roofline.from_datasheet(cards.find(name)))


def small_study(**changes) -> dict:
    given = {"model": {"source": "architecture", "config": SMALL | {"num_hidden_layers": 1}}, "steps": 3}
    given["data"] = {"source": "hub", "id": "owner/name", "max_length": 32}
    return schema.resolve(given | {"precisions": ["fp16"], "ranks": [8]} | changes)
