"""Judge what an adapter loses on its way to where it is used. docs/findings.md has the claim's rule."""

import pandas as pd

from frontier.results.claims.claim import (
    CONTRADICTED,
    INCONCLUSIVE,
    SUPPORTED,
    Evidence,
    claim,
    not_measured,
    percent,
    plain,
)
from frontier.results.shipping.uses import cost_in_words

_UNIT = "% of perplexity"


def shipping_cost(results: Evidence) -> dict:
    """Judge whether some way of using the shipped runs' adapters costs quality, or none costs any that matters."""
    name, table = "shipping_cost", results.shipping
    judged = table.dropna(subset=["against_as_trained"]) if table is not None else pd.DataFrame()
    if judged.empty:
        return not_measured(name, "it takes results/shipping.csv; shipping.measure: true makes it part of the study")
    told = set(judged["told"])
    worst = judged.sort_values("against_as_trained").iloc[-1]
    words = {
        SUPPORTED: "How the adapter is used costs quality",
        CONTRADICTED: "No way of using the adapter costs quality that matters",
        INCONCLUSIVE: "Some way of using the adapter may cost quality",
    }
    verdict = SUPPORTED if "worse" in told else INCONCLUSIVE if "not told apart" in told else CONTRADICTED
    sentence = f"{words[verdict]}: worst is {worst['what']}, {cost_in_words(worst)}."
    best = [f"to use it as {row['recommended_for']}, {row['what']}" for _, row in _recommended(table).iterrows()]
    if best:
        sentence += f" Recommended: {'; '.join(best)}."
    values = {
        "against_percent": {
            f"{row['run']} {row['way']}": percent(row["against_as_trained"]) for _, row in judged.iterrows()
        },
        "recommended": {
            f"{row['run']} {row['recommended_for']}": row["way"] for _, row in _recommended(table).iterrows()
        },
    }
    ends = {"low": percent(worst["against_low"]), "high": percent(worst["against_high"])}
    interval = {"estimate": percent(worst["against_as_trained"])} | ends | {"level": 0.95, "unit": _UNIT}
    runs = list(dict.fromkeys(judged["run"]))
    return claim(name, verdict, sentence, runs, values, plain(interval | {"basis": worst["basis"]}))


def _recommended(table: pd.DataFrame) -> pd.DataFrame:
    return table.dropna(subset=["recommended_for"])
