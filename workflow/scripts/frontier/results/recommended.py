"""Tell what a page says of the recommended run: its figures, what it rests on, what would change it, how to load it."""

import numpy as np
import pandas as pd

from frontier import paths
from frontier.material_types import ModelRecord
from frontier.outcome_types import Status
from frontier.results.claims.limits import said
from frontier.results.configurations import Configuration, configurations_of, rows_of
from frontier.results.figures.canvas import time_unit
from frontier.token_types import TokensRecord

# How a 16- or 32-bit base is loaded as it was trained on; one of fewer bits has its type in its own files.
_TYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}

# The start of the first sentence behind a recommendation's answer: claims/recommendation.py writes it.
_REASONS = " Take the adapter of "


def recommendation(summary: pd.DataFrame, claims: list, tokens: TokensRecord, model: ModelRecord) -> dict | None:
    """Return the recommendation's claim with its `run`, its configuration's `facts`, and more; None without findings.

    `choice` is the configuration in words. `answer` is its sentence up to where the reasons begin. `rests` has pairs of
    a word and what the choice rests on, `changes` what would change it, `code` how its adapter is loaded; each is empty
    where no run is recommended, or where the findings do not tell.
    """
    claim = next((one for one in claims if one["id"] == "recommendation"), None)
    if claim is None:
        return None
    values = claim["evidence"]["values"]
    rows = summary[summary["run"] == values.get("run")]
    found = claim | {"run": values.get("run"), "facts": [], "rests": [], "changes": [], "code": None}
    found["choice"] = values.get("run")
    found["answer"] = claim["sentence"]
    if rows.empty:
        return found
    chosen = Configuration.of_row(rows.iloc[0])
    runner_up = configurations_of(summary[summary["run"] == values.get("runner_up")])
    found |= {"choice": chosen.title(), "changes": changes(values)}
    found["facts"] = key_figures(_mean(rows_of(summary, chosen)))
    if "not_told_apart" in values:
        found["answer"] = claim["sentence"].partition(_REASONS)[0]
        found["rests"] = rests(values, chosen, runner_up, tokens)
    if values.get("adapter"):
        found["code"] = code(values["adapter"], rows.iloc[0]["precision"], model)
    return found


def _mean(rows: pd.DataFrame) -> pd.Series:
    """Return a configuration's figures from the rows of its seeds, of which several have no interval of one run."""
    rows = rows[rows["status"] == Status.OK]
    if len(rows) == 1:
        return rows.iloc[0]
    measured = {"perplexity": np.exp(rows["eval_loss"].mean()), "seeds": len(rows)}
    return pd.Series(measured | rows.filter(["train_seconds", "peak_memory_gib", "peak_held_gib"]).mean().to_dict())


def key_figures(row: pd.Series) -> list[dict]:
    """Return three figures of a run, or of the mean of a configuration's `seeds`: perplexity, time and peak memory.

    Perplexity has its interval where it is of one run, and time is in a fitting unit.
    """
    divisor, unit = time_unit(pd.Series([row["train_seconds"]]))
    found = [{"name": "perplexity", "value": f"{row['perplexity']:.2f}", "unit": ""}]
    if pd.notna(row.get("perplexity_low")):
        found[0]["more"] = f"{row['perplexity_low']:.2f} to {row['perplexity_high']:.2f}, 95%"
    if "seeds" in row:
        found[0]["more"] = f"mean of {row['seeds']:.0f} seeds"
    found.append({"name": "training time", "value": f"{row['train_seconds'] / divisor:.1f}", "unit": unit})
    found.append({"name": "peak memory", "value": f"{row['peak_memory_gib']:.2f}", "unit": "GiB"})
    if pd.notna(row.get("peak_held_gib")):
        found[-1]["more"] = f"{row['peak_held_gib']:.2f} held, as budgets count"
    return found


def rests(
    values: dict, chosen: Configuration, runner_up: list[Configuration], tokens: TokensRecord
) -> list[tuple[str, str]]:
    """Return what a recommendation rests on, in pairs of a word and a sentence's part; a runner-up need not be."""
    own = (chosen.title(), chosen.arm.title())
    level = [title for title in values["not_told_apart"] if title not in own]
    seeds = (values["against_base"] or {}).get("basis")
    judged = f"{tokens['validation']['examples']} validation examples" + (f", {seeds}" if seeds else "")
    found = [("Judged on", judged), ("Limits", said(values["limits"]))]
    if level:
        found.append(("Not told apart from", f"{'; '.join(level)}. It is the cheapest of them"))
    return found + [("Runner-up", one.title()) for one in runner_up]


def changes(values: dict) -> list[str]:
    """Return what would change a recommendation or settle it: its bounds, and how much more would have to be run."""
    more = values.get("settled_by") or {}
    wanted = [f"{count} {name}" for name, count in more.items() if count]
    settled = [f"{' and '.join(wanted)} would settle it against the nearest of the others"] if wanted else []
    return [*(values.get("bounds") or []), *settled]


def code(adapter: str, precision: str, model: ModelRecord) -> str:
    """Return the Python that loads an adapter on its base, whose path the adapter's files have, and its tokenizer."""
    dtype = f', dtype="{_TYPES[precision]}"' if precision in _TYPES else ""
    return (
        "from peft import AutoPeftModelForCausalLM\n"
        "from transformers import AutoTokenizer\n"
        "\n"
        f'model = AutoPeftModelForCausalLM.from_pretrained("{adapter}", device_map="auto"{dtype})\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{paths.CACHE / model["tokenizer"]}")\n'
    )
