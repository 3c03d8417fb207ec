"""The settings that may have several values in one study, each an axis of its grid, and how a run's name tells them.

Precision, rank and seed stand in every name, nf4-r16-s0. A setting with several values stands behind them with its
own, nf4-r16-s0-lr2e-3, and has a column in summary.csv.
"""

from decimal import Decimal

# The settings by their columns, in the order in which a name has them. With each comes the word before its value in a
# name; a setting without one has words for values (cosine, adamw_8bit), or names of its user's own, for themselves.
TAGS = {
    "learning_rate": "lr",
    "alpha": "alpha",
    "dropout": "dropout",
    "rslora": "rslora",
    "targets": "",
    "lora_dtype": "lora",
    "schedule": "",
    "warmup_steps": "warmup",
    "steps_asked": "steps",
    "epochs": "epochs",
    "batch_size": "batch",
    "micro_batch_size": "micro",
    "weight_decay": "decay",
    "max_grad_norm": "clip",
    "optimizer": "",
    "gradient_checkpointing": "checkpointing",
    "fused_kernels": "fused",
    "cuda_graphs": "graphs",
    "offload_embeddings": "offload",
    "compute_dtype": "",
    "logging_steps": "logging",
}
# Those of the configuration's section `lora`, with their keys there; the others stand by themselves.
_OF_LORA = {"alpha": "alpha", "dropout": "dropout", "rslora": "rslora", "targets": "targets", "lora_dtype": "dtype"}
# The word before the tag of a setting that is off, -nofused.
OFF = "no"
# Numbers below this are written with an exponent.
_SMALL = 0.01


def place(column: str) -> tuple[str, ...]:
    """Return where a setting stands in the configuration: its key, after that of its section if it is in one."""
    if column in _OF_LORA:
        return ("lora", _OF_LORA[column])
    # The summary's column `steps` has how many a training took.
    return (column.removesuffix("_asked"),)


def text(value: bool | float | str) -> str:
    """Return a setting's value as the one text that stands for it, however it was spelled: 2e-3 for 0.002."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"{text(float(value[:-1]))}r" if value.endswith("r") and _is_number(value[:-1]) else value
    exact = Decimal(repr(float(value))).normalize()
    return f"{exact:e}" if 0 < abs(float(value)) < _SMALL else f"{exact:f}"


def suffix(column: str, value: bool | float | str) -> str:
    """Return what a run's name has for a setting's value: -lr2e-3, -alpha2r, -cosine, -rslora, -norslora."""
    if isinstance(value, bool):
        return f"-{'' if value else OFF}{TAGS[column]}"
    return f"-{TAGS[column]}{text(value)}"


def _is_number(words: str) -> bool:
    try:
        return float(words) >= 0
    except ValueError:
        return False
