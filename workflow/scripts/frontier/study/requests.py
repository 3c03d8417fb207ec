"""What each job is asked for: the part of the configuration that its result depends on."""

from pathlib import Path

from frontier.model.files import used_files
from frontier.study import cards
from frontier.study.runs import parse_run, run_names

_TRAINING = (
    "learning_rate schedule warmup_steps steps epochs batch_size micro_batch_size weight_decay max_grad_norm optimizer "
    "gradient_checkpointing fused_kernels cuda_graphs offload_embeddings logging_steps"
).split()
_TOKENS = ("template", "max_length")
# Only accuracy is measured on it: naming a test split retrains nothing.
_TEST = ("test_file", "test_split")


def data_files(config: dict) -> list[str]:
    """The files that the data are read from, for Snakemake to watch."""
    return [config["data"][key] for key in ("train_file", "validation_file") if config["data"].get(key)]


def model_files(config: dict) -> list[str]:
    """The files of a folder that the model is loaded from, for Snakemake to watch."""
    folder = config["model"].get("path")
    return [str(path) for path in used_files(Path(folder))] if folder else []


def shape_files(config: dict) -> list[str]:
    """Those of `model_files` that a plan reads."""
    return [file for file in model_files(config) if Path(file).name == "config.json"]


def data_request(config: dict) -> dict:
    return {"data": {key: value for key, value in config["data"].items() if key not in (*_TOKENS, *_TEST)}}


def tokens_request(config: dict) -> dict:
    return {key: config["data"][key] for key in _TOKENS}


def device_request(config: dict) -> dict:
    return {"device": config["device"], "cpu_threads": config["cpu_threads"]}


def limits(config: dict) -> dict:
    """What bounds a job without changing its result."""
    return config["budget"] | {key: config[key] for key in ("checkpoint_minutes", "checkpoint_steps")}


def tracked_budget(config: dict, record: dict | None, skips: bool = False) -> dict | None:
    """The budget that a job is tracked by, where it has left `record`: it decides what a changed budget makes again.

    What ended well stands. What did not is made again under another budget. A run that was given up unseen by the key
    skip_hopeless, which a job that `skips` such runs is tracked by too, is made again once the key is off.
    """
    now = config["budget"] | ({"skip_hopeless": True} if skips and config["skip_hopeless"] else {})
    if record is None:
        return now
    outcome, tracked = record["outcome"], record.get("tracked")
    under = {key: value for key, value in (tracked or {}).items() if key != "skip_hopeless"}
    stands = outcome.get("basis") != "predicted" and under == config["budget"]
    return tracked if outcome.get("status") == "ok" or stands else now


def plan_limit(config: dict) -> dict:
    """The limit that a plan is drawn against: the smaller of the budget and a named card's memory."""
    budget, card = config["budget"]["memory_gib"], cards.find(config["plan"]["card"])
    known = [limit for limit in (budget, card and card["memory_gib"]) if limit]
    return {"limit_gib": min(known, default=None), "is_budget": bool(known) and min(known) == budget}


def plan_request(config: dict) -> dict:
    """All that a plan depends on beside the code and the tokens, where there are any."""
    note = Path("resources/tokens/tokens.json")
    return {
        "study": {key: value for key, value in config.items() if key != "processes"} | _processes(config),
        "card": cards.find(config["plan"]["card"]),
        "runs": [training_request(config, run) for run in run_names(config)],
        "tokens": note.read_text("utf-8") if note.exists() else None,
    }


def training_request(config: dict, run: str) -> dict:
    """All that a run's training depends on beside the model, the tokens and the code."""
    precision, rank, seed = parse_run(run)
    lora = config["lora"] | {"alpha": _alpha(config["lora"]["alpha"], rank)}
    return device_request(config) | {
        "run": run,
        "precision": precision,
        "rank": rank,
        "seed": seed,
        "lora": lora,
        "training": {key: config[key] for key in _TRAINING},
        "compute_dtype": config["compute_dtype"],
        **_processes(config),
    }


def evaluation_request(config: dict, name: str) -> dict:
    """All that an evaluation depends on beside the model, the adapter, the tokens and the code."""
    return device_request(config) | {"name": name} | config["evaluation"]


def test_split(config: dict) -> str | None:
    """The file or split of test problems that the configuration names; None where it names none."""
    return next((config["data"][key] for key in _TEST if config["data"].get(key)), None)


def accuracy_request(config: dict, name: str) -> dict:
    """All that an accuracy depends on beside the model, the adapter, the problems and the code."""
    settings = {key: value for key, value in config["accuracy"].items() if key != "measure"}
    precision, rank, seed = parse_run(name) if "-" in name else (name, None, None)
    return (
        {"name": name, "precision": precision, "rank": rank, "seed": seed}
        | {"split": "test" if test_split(config) else "validation"}
        | device_request(config)
        | tokens_request(config)
        | settings
    )


def _processes(config: dict) -> dict:
    """Nothing where a training has one process: what was made before there was the key is what it would be now."""
    return {"processes": config["processes"]} if config["processes"] > 1 else {}


def _alpha(rule, rank: int) -> float:
    return float(rule[:-1]) * rank if isinstance(rule, str) else float(rule)
