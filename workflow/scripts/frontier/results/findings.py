"""Judge claims, most of them a published study's, by these runs: results/findings.json and results/findings.md."""

import pandas as pd

from frontier import records
from frontier.progress import say
from frontier.results import contrasts
from frontier.results.claims import budget, four_bits, memory, plan, precision, rank, rates, time
from frontier.results.claims.claim import Evidence
from frontier.results.claims.published import CONTRADICTIONS, PUBLISHED
from frontier.results.claims.recommendation import recommendation

# The claims in the order in which findings.json and findings.md number them.
CLAIMS = (
    budget.fp16_exceeds_budget,
    budget.nf4_within_budget,
    time.nf4_speedup,
    precision.fp16_best_quality,
    precision.nf4_quality_gap,
    rank.rank_monotone,
    rank.diminishing_returns,
    rank.knee,
    time.rank_time,
    memory.rank_memory,
    precision.quantization_cost,
    plan.planner_accuracy,
    recommendation,
    rates.rate_matters,
    rates.best_rate,
    rates.rate_rule,
)


def state(results: Evidence) -> list[dict]:
    """Return every claim: `id`, `verdict`, `sentence`, `evidence` (`runs`, `values`, `interval`) and `published`."""
    claims = [four_bits.withhold(results, judge(results)) for judge in CLAIMS]
    return [one | {"published": PUBLISHED.get(one["id"])} for one in claims]


def markdown(claims: list[dict]) -> str:
    """Return the findings as a page of Markdown, the recommendation first."""
    by_id = {one["id"]: one for one in claims}
    lines = ["# Findings", "", by_id["recommendation"]["sentence"], ""]
    lines += ["| # | claim | verdict | what the runs say | published |", "|--:|---|---|---|---|"]
    for number, one in enumerate(claims, 1):
        cells = (number, f"`{one['id']}`", _words(one["verdict"]), one["sentence"], one["published"] or "")
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    lines += ["", "## Where the published study contradicts itself", ""]
    lines += ["| it says | it also says | our verdict |", "|---|---|---|"]
    for says, also, name in CONTRADICTIONS:
        lines.append(f"| {says} | {also} | `{name}`: {_words(by_id[name]['verdict'])} |")
    lines += ["", "Intervals are of 95%; *this seed only* allows for other examples and for no other seed."]
    lines += ["The runs, values and intervals behind each verdict are in findings.json.", ""]
    return "\n".join(lines)


def measured(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the summary without the runs that a plan gave up: no claim rests on a prediction."""
    return summary[summary["basis"] != "predicted"].reset_index(drop=True)


def state_findings(job: dict) -> None:
    """Judge every claim by the summary and the per-example losses, and write both files.

    What to do about best learning rates at an edge of those tried is said after the verdicts.
    """
    inputs, request = job["input"], job["request"]
    summary = measured(pd.read_csv(inputs["summary"]))
    runs = dict(zip(request["runs"], map(pd.read_parquet, inputs["losses"]), strict=True))
    baselines = dict(zip(request["precisions"], map(pd.read_parquet, inputs["baselines"]), strict=True))
    losses = contrasts.gather(summary, runs, baselines)
    results = Evidence(summary, losses, request["budget"], request["recommend"])
    claims = state(results)
    records.write_json(job["output"]["findings"], claims)
    records.write_text(job["output"]["page"], markdown(claims))
    for one in claims:
        say(f"{one['id']:20} {_words(one['verdict'])}")
    for line in results.tuned.lines():
        say(line)


def _words(verdict: str) -> str:
    """Return a verdict as prose has it."""
    return verdict.replace("_", " ")
