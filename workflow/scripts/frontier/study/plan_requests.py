"""The requests of plans: of a study on a card, and of what could be trained on one."""

from pathlib import Path
from typing import cast

from frontier.request_types import AskRequest, PlanRequest
from frontier.study import cards
from frontier.study.requests import device_request, processes_of, training_request, without_trackers
from frontier.study.runs import run_names


def plan_limit(config: dict) -> dict:
    """Return the memory that a plan is drawn against: the smaller of the budget's and that of the card it is for.

    `limit_gib` is None where there is neither; `is_budget` tells whether it is the budget's.
    """
    budget, card = config["budget"]["memory_gib"], cards.find(config["plan"]["card"])
    known = [limit for limit in (budget, card and card["memory_gib"]) if limit]
    return {"limit_gib": min(known, default=None), "is_budget": bool(known) and min(known) == budget}


def plan_request(config: dict) -> PlanRequest:
    """Return all that a plan depends on beside the code: the study, its card, and the tokens once they are made."""
    note = Path("resources/tokens/tokens.json")
    return {
        "study": {key: value for key, value in without_trackers(config).items() if key not in ("processes", "shipping")}
        | processes_of(config),
        "card": cards.find(config["plan"]["card"]),
        "runs": [training_request(config, run) for run in run_names(config)],
        "tokens": note.read_text("utf-8") if note.exists() else None,
    }


def ask_request(config: dict) -> AskRequest:
    """Return all that the options of a card depend on beside the code."""
    asked = {"study": {"model": config["model"]}, "card": cards.find(config["plan"]["card"]), **config["ask"]}
    return cast(AskRequest, device_request(config) | asked)
