"""Judge claims by these runs, the study's own and others': results/findings.json and results/findings.md."""

from pathlib import Path

import pandas as pd

from frontier import records
from frontier.progress import say
from frontier.results import contrasts
from frontier.results.claims import (
    budget,
    four_bits,
    memory,
    next_gain,
    plan,
    precision,
    published,
    rank,
    rates,
    shipping,
    stated,
    time,
    trained,
)
from frontier.results.claims.claim import Evidence
from frontier.results.claims.recommendation import recommendation

# The claims of a study's own part, in the order in which files have them. Each has a name for pages: what holds where
# the verdict is `supported`.
STUDY = {
    trained.training_helped: "Training helped",
    recommendation: "A run can be recommended",
    rank.rank_monotone: "Every step of rank lowers perplexity",
    rank.diminishing_returns: "A first doubling of rank gains more than the next",
    rank.knee: "More rank stops paying before the highest tried",
    rates.rate_matters: "The learning rate matters more than rank",
    rates.best_rate: "The best learning rate falls with rank",
    rates.rate_rule: "Alpha or rslora moves the best learning rate",
    precision.fp16_best_quality: "16 bits give the best quality",
    precision.nf4_quality_gap: "NF4 is as good as 16 bits after training",
    precision.quantization_cost: "NF4 costs quality before training",
    budget.fp16_exceeds_budget: "16-bit LoRA exceeds the memory budget",
    budget.nf4_within_budget: "NF4 stays within the memory budget",
    memory.nf4_memory: "NF4 saves memory",
    time.nf4_time: "NF4 costs time",
    memory.rank_memory: "Rank costs memory",
    time.rank_time: "Rank costs time",
    trained.overfitting: "It overfits: validation ends above training loss",
    next_gain.next_gain: "More rank, another rate or more steps would gain",
    plan.planner_accuracy: "The plan was near what was measured",
    shipping.shipping_cost: "How the adapter is used costs quality",
}
# What only others state: judged on behalf of config/claims.yaml alone.
STATED = (time.nf4_speedup, stated.rate_of_rank, stated.all_linear)


def state(results: Evidence) -> list[dict]:
    """Return every claim: `id`, `part`, `title`, `verdict`, `sentence`, `evidence` and `published`.

    `part` is study for a study's own claims, which come first and have no `published`, and others for the published
    ones, whose `title` is what they state. `evidence` has `runs`, `values` and `interval`.
    """
    judged = {judge.__name__: four_bits.withhold(results, judge(results)) for judge in (*STUDY, *STATED)}
    own = {judge.__name__: title for judge, title in STUDY.items()}
    entries = published.read([*own], [*judged])
    claims = [judged[name] | {"part": "study", "title": title, "published": None} for name, title in own.items()]
    held = published.hold(entries, judged)
    return claims + [one | {"part": "others", "title": one["published"]["statement"]} for one in held]


def markdown(claims: list[dict]) -> str:
    """Return the findings as a page of Markdown: the recommendation, the study's own claims, then those of others."""
    by_id = {one["id"]: one for one in claims}
    own, others = ([one for one in claims if one["part"] == part] for part in ("study", "others"))
    lines = ["# Findings", "", by_id["recommendation"]["sentence"], "", "## Your study", ""]
    lines += ["| # | | claim | verdict | what the runs say |", "|--:|---|---|---|---|"]
    for number, one in enumerate(own, 1):
        lines.append(_row(number, one["title"], f"`{one['id']}`", _words(one["verdict"]), one["sentence"]))
    lines += ["", "## Claims of others", ""]
    lines += ["What others have published (`config/claims.yaml`), held against your runs."]
    lines += _of_others(others, len(own) + 1) if others else ["None are listed."]
    lines += _contradictions(others, by_id)
    lines += ["", "Intervals are of 95%; *this seed only* allows for other examples and for no other seed."]
    lines += ["The runs, values and intervals behind each verdict are in findings.json.", ""]
    return "\n".join(lines)


def measured(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the summary without the runs that a plan gave up: no claim rests on a prediction."""
    return summary[summary["basis"] != "predicted"].reset_index(drop=True)


def state_findings(job: dict) -> None:
    """Judge every claim by the summary, the per-example losses and the histories, and write both files.

    What to do about best learning rates at an edge of those tried is said after the verdicts.
    """
    inputs, request = job["input"], job["request"]
    summary = measured(pd.read_csv(inputs["summary"]))
    runs = dict(zip(request["runs"], map(pd.read_parquet, inputs["losses"]), strict=True))
    baselines = dict(zip(request["precisions"], map(pd.read_parquet, inputs["baselines"]), strict=True))
    histories = {Path(path).parent.name: pd.read_csv(path) for path in inputs["histories"]}
    losses = contrasts.gather(summary, runs, baselines)
    targets = request["targets"] if isinstance(request["targets"], dict) else {}
    shipped = pd.read_csv(inputs["shipping"]) if inputs.get("shipping") else None
    results = Evidence(summary, losses, request["budget"], request["recommend"], histories, targets, shipped)
    claims = state(results)
    records.write_json(job["output"]["findings"], claims)
    records.write_text(job["output"]["page"], markdown(claims))
    for one in claims:
        say(f"{one['id']:20} {_words(one['verdict'])}", passing=True)
    for line in results.tuned.lines():
        say(line)


def _of_others(others: list[dict], start: int) -> list[str]:
    """Return a table of the published claims, numbered from `start`, as lines of Markdown."""
    lines = ["", "| # | stated | by | claim | verdict | what the runs say |", "|--:|---|---|---|---|---|"]
    for number, one in enumerate(others, start):
        source = f"{one['published']['source']} ({_date(one['published']['date'])})"
        lines.append(_row(number, one["title"], source, f"`{one['id']}`", _words(one["verdict"]), one["sentence"]))
    return lines


def _contradictions(others: list[dict], by_id: dict[str, dict]) -> list[str]:
    """Return a table of the published claims that their own source contradicts, as lines of Markdown."""
    against = [one for one in others if one["published"]["against"]]
    if not against:
        return []
    lines = ["", "### Where a source contradicts itself", "", "| it states | and also |", "|---|---|"]
    for one in against:
        lines.append(_row(*(_with_verdict(each) for each in (by_id[one["published"]["against"]], one))))
    return lines


def _with_verdict(one: dict) -> str:
    """Return what is stated, with the claim's id and verdict."""
    return f"{one['title']} `{one['id']}`: {_words(one['verdict'])}"


def _row(*cells) -> str:
    """Return a row of a table of Markdown."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _date(date: str) -> str:
    """Return a date of a publication as prose has it."""
    return "date unknown" if date == "unknown" else date


def _words(verdict: str) -> str:
    """Return a verdict as prose has it."""
    return verdict.replace("_", " ")
