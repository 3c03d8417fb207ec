"""List the columns of the tables that this room writes, shows and prints: which, in which order, what each is.

The summary's stand in parts by where their values are from, in the order in which results/summary.csv has them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from frontier.outcomes import ACCURACY as ACCURACY_KEYS
from frontier.progress import say


class Column(NamedTuple):
    """How a page shows a column: its name in print, its unit, one line of help, and how its values read.

    `form` is a format specification; `shown` is whether the column stands in view at first.
    """

    title: str
    unit: str
    help: str
    form: str = ""
    shown: bool = False


# A run's name, its configuration and its seed.
RUN = {
    "run": Column("Run", "", "Precision of the base, LoRA rank and seed.", shown=True),
    "precision": Column("Precision", "", "How the frozen base model is stored while the adapter trains."),
    "rank": Column("Rank", "", "LoRA rank: the width of the adapter's matrices.", ".0f", True),
    "seed": Column("Seed", "", "Draws the adapter's first weights and the order of the examples.", ".0f"),
    "learning_rate": Column("Learning rate", "", "Peak learning rate.", "g", True),
}
# The further settings of which a study has several values; a table has the columns of those alone.
FURTHER = {
    "alpha": Column("Alpha", "", "LoRA's alpha: a number, or a multiple of the rank.", shown=True),
    "dropout": Column("Dropout", "", "Share of the adapter's inputs that training drops.", "g", True),
    "rslora": Column("rsLoRA", "", "Whether the update is scaled by 1/sqrt(rank), not 1/rank.", shown=True),
    "targets": Column("Targets", "", "The set of layers that have adapters.", shown=True),
    "lora_dtype": Column("Adapter's dtype", "", "In which the adapter is kept and updated.", shown=True),
    "schedule": Column("Schedule", "", "How the learning rate changes over the steps.", shown=True),
    "warmup_steps": Column("Warm-up", "steps", "Steps over which the learning rate rises.", "g", True),
    "steps_asked": Column("Steps asked for", "", "Optimiser steps that were to be taken.", "g", True),
    "epochs": Column("Epochs", "", "Passes over the training examples.", "g", True),
    "batch_size": Column("Batch", "", "Examples an optimiser step.", "g", True),
    "micro_batch_size": Column("Micro-batch", "", "Examples at a time.", "g", True),
    "weight_decay": Column("Weight decay", "", "AdamW's weight decay.", "g", True),
    "max_grad_norm": Column("Clipped at", "", "Norm to which gradients are clipped.", "g", True),
    "optimizer": Column("Optimiser", "", "By transformers' name.", shown=True),
    "gradient_checkpointing": Column("Checkpointing", "", "Whether activations are computed again.", shown=True),
    "fused_kernels": Column("Fused kernels", "", "Whether liger-kernel's are asked for.", shown=True),
    "cuda_graphs": Column("CUDA graphs", "", "Whether steps are to be captured.", shown=True),
    "offload_embeddings": Column("Embeddings offloaded", "", "Whether they are to stay in RAM.", shown=True),
    "compute_dtype": Column("Compute dtype", "", "Of the matrix products, as configured.", shown=True),
    "logging_steps": Column("Logged every", "steps", "Steps between two rows of history.csv.", "g", True),
}
# How the run ended.
END = {
    "status": Column("Status", "", "How the run ended: ok, or what stopped it.", shown=True),
    "phase": Column("Phase", "", "The part of the run in which it stopped."),
    "reason": Column("Reason", "", "What stopped it, in words."),
    "basis": Column("Basis", "", "measured, or predicted: the plan gave the run up and it was not started."),
    "needs_gib": Column("Needs at least", "GiB", "What a run that ran out of memory held and was refused.", ".2f"),
}
# The perplexity that it came to, by its evaluation and its base model's.
QUALITY = {
    "perplexity": Column("Perplexity", "", "Over the answers of the validation split; lower is better.", ".3f", True),
    "perplexity_low": Column("Perplexity, low", "95%", "Lower end of its interval over other examples.", ".3f", True),
    "perplexity_high": Column("Perplexity, high", "95%", "Upper end of its interval over other examples.", ".3f", True),
    "eval_loss": Column("Validation loss", "nats/token", "Mean loss of an answer token; perplexity is its exp.", ".4f"),
    "base_perplexity": Column("Base perplexity", "", "Of the base model at this precision, untrained.", ".3f"),
    "against_base": Column("Against its base", "", "Better or worse than before training, beyond noise.", shown=True),
}
# The base that it was trained on.
BASE = {
    "four_bit_share": Column("Share in 4 bits", "%", "Of the base's parameters, embeddings and head aside.", ".1%"),
}
# The cost of its training: keys of the outcome in training.json, by the same names.
COST = {
    "train_seconds": Column("Training time", "s", "Wall clock of the optimiser steps alone.", ",.1f", True),
    "load_seconds": Column("Loading time", "s", "Loading the base and adding the adapter.", ",.1f"),
    "tokens_per_second": Column("Speed", "tokens/s", "Training tokens over training time.", ",.0f", True),
    "peak_memory_gib": Column("Peak memory", "GiB", "During training, by the memory metric.", ".2f", True),
    "memory_metric": Column("Memory metric", "", "cuda_allocated: tensors on the GPU; host_rss: resident set."),
    "peak_allocated_gib": Column("Peak allocated", "GiB", "Tensors on the GPU at their peak.", ".2f"),
    "peak_reserved_gib": Column("Peak reserved", "GiB", "What the allocator held of the GPU at its peak.", ".2f"),
    "peak_held_gib": Column("Held on the GPU", "GiB", "All that the run's process had there, context included.", ".2f"),
    "peak_device_gib": Column("Device in use", "GiB", "All that was in use on the GPU, by any process.", ".2f"),
    "peak_host_gib": Column("Peak host memory", "GiB", "The process's resident set at its peak.", ".2f"),
    "trainable_parameters": Column("Trainable parameters", "", "Weights of the adapter.", ",.0f"),
    "train_tokens": Column("Training tokens", "", "All tokens that training went through.", ",.0f"),
    "steps": Column("Steps", "", "Optimiser steps.", ",.0f"),
    "final_train_loss": Column("Last training loss", "nats/token", "Of the last step that was logged.", ".3f"),
    "resumes": Column("Resumes", "", "How often the run went on after an interruption.", ".0f"),
    "base_on": Column("Base on", "", "host where the base's layers were sent over from there; else empty."),
    "product_dtype": Column("Products in", "", "Dtype that the matrix products were computed in."),
}
# The plan's figures for the run beside the measured ones.
FORETOLD = {
    "predicted_peak_gib": Column(
        "Predicted peak", "GiB", "By the plan, of all that the process holds on its device.", ".2f"
    ),
    "predicted_seconds": Column("Predicted time", "s", "Training time by the plan.", ",.1f"),
    "predicted_peak_error": Column("Error of the peak", "%", "Predicted over measured, less one.", "+.1%"),
    "predicted_seconds_error": Column("Error of the time", "%", "Predicted over measured, less one.", "+.1%"),
}
# How the run stands to the others and to the budget.
STANDING = {
    "pareto": Column("On the frontier", "", "Nothing beats it beyond noise in memory, time or perplexity.", shown=True),
    "beaten_by": Column("Beaten by", "", "The configuration that beats it: nowhere worse beyond noise, and better."),
    "fits": Column("Fits the budget", "", "Inside every limit of the budget that is set.", shown=True),
}
# Where it was trained.
SURROUNDINGS = {
    "device": Column("Device", "", "What the run trained on."),
    "host": Column("Host", "", "The machine it trained on."),
    "notes": Column("Notes", "", "What of its surroundings is not what the most runs have."),
}
# Answers to problems, which follow at the end where a study measures them.
ACCURACY = {
    "accuracy_strict": Column("Accuracy, strict", "%", "Answers with the right number after ####.", ".1%", True),
    "accuracy_strict_se": Column("Strict, std. error", "%", "Standard error of the strict accuracy.", ".1%"),
    "accuracy_flexible": Column("Accuracy, flexible", "%", "Answers whose last number is right.", ".1%", True),
    "accuracy_flexible_se": Column("Flexible, std. error", "%", "Standard error of the flexible accuracy.", ".1%"),
    "accuracy_split": Column("Accuracy split", "", "The split whose problems were answered."),
    "accuracy_examples": Column("Accuracy examples", "", "How many problems were answered.", ".0f"),
    "base_accuracy_strict": Column("Base accuracy, strict", "%", "Of the base model at this precision.", ".1%"),
    "base_accuracy_flexible": Column("Base accuracy, flexible", "%", "Of the base model at this precision.", ".1%"),
}
# The columns of results/shipping.csv that a page shows beside those that the summary has too.
SHIPPING = {
    "what": Column("How the adapter is used", "", "What is done with it.", shown=True),
    "status": END["status"],
    "perplexity": QUALITY["perplexity"],
    "against_as_trained": Column(
        "Against as trained", "nats/token", "Loss less that of the run as trained.", "+.4f", True
    ),
    "against_low": Column("Low", "95%", "Lower end of its interval over other examples.", "+.4f", True),
    "against_high": Column("High", "95%", "Upper end of its interval over other examples.", "+.4f", True),
    "told": Column("Told", "", "What the interval says, each way at its share of 5%.", shown=True),
    "accuracy_strict": ACCURACY["accuracy_strict"],
    "size_mib": Column("Size", "MiB", "Of what is shipped.", ",.1f", True),
    "bits_a_weight": Column("Bits a weight", "", "What a GGUF file really has, over all tensors.", ".2f", True),
    "recommended_for": Column("Recommended for", "", "The use for which it is the way to take.", shown=True),
}
SUMMARY = RUN | END | QUALITY | BASE | COST | FORETOLD | STANDING | SURROUNDINGS
COLUMNS = RUN | FURTHER | SUMMARY | ACCURACY
# The summary's columns that follow from its others and from the per-example losses.
DERIVED = ("perplexity_low", "perplexity_high", "against_base", "pareto", "beaten_by", "fits")
# The summary's columns of whole numbers, which may be empty.
COUNTS = ("rank", "seed", "trainable_parameters", "train_tokens", "steps", "resumes")
# The columns of results/accuracy.csv behind `run`: keys of a measurement's request, then of its outcome.
ACCURACY_ASKED = ("precision", "rank", "seed", "split")
ACCURACY_FOUND = ("status", "reason", *ACCURACY_KEYS)
# Those of whole numbers among them, which may be empty.
ACCURACY_COUNTS = ("rank", "seed", "examples", "unfinished")


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with its columns in the summary's order, and behind them those that the summary has not."""
    known = [name for name in COLUMNS if name in table]
    return table[[*known, *(name for name in table if name not in COLUMNS)]]


def say_table(table: pd.DataFrame, digits: int = 2) -> None:
    """Print a table for people, numbers with `digits` decimals, nothing where a value is missing."""
    say(table.to_string(index=False, float_format=f"{{:.{digits}f}}".format, na_rep=""))


def describe(name: str) -> Column:
    """Return the column's entry; one that has none shows under its own name."""
    return COLUMNS.get(name, Column(name.replace("_", " ").capitalize(), "", ""))


def cells(table: pd.DataFrame, entries: Mapping[str, Column] = COLUMNS) -> list[dict]:
    """Return each column of the table that has any value, as a page shows it; `entries` has the columns' entries.

    A column has its `name`, its entry as `column`, whether it is a `number`, and as `values` the text and the sort key
    of each row.
    """
    shown = []
    for name in [name for name in table if table[name].notna().any()]:
        entry = entries.get(name) or describe(name)
        values = [(show(value, entry), "" if pd.isna(value) else str(value)) for value in table[name]]
        shown.append({"name": name, "column": entry, "number": bool(entry.form), "values": values})
    return shown


def show(value, entry: Column) -> str:
    """Return a value as it reads: a dash for what was not measured, yes and no, digits as the column asks."""
    if pd.isna(value):
        return "–"
    if isinstance(value, bool) or str(value) in ("True", "False"):
        return "yes" if str(value) == "True" else "no"
    return format(value, entry.form) if entry.form else str(value)
