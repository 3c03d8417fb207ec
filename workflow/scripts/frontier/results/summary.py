"""Summarise a study as one row a run, what it cost and what it bought: results/summary.csv."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from frontier import records
from frontier.errors import UserError
from frontier.record_types import Environment, EvaluationRecord, TrainingRecord
from frontier.results import columns, derived, plan_errors
from frontier.results.configurations import axes_of

# What a reader should know to be unlike from run to run, beside the packages' versions.
_SURROUNDINGS = ("device", "host", "python", "start")


def row_of(training: TrainingRecord, evaluation: EvaluationRecord, baseline: EvaluationRecord) -> dict[str, Any]:
    """Return a run's row from its records; what was not measured is None."""
    request, cost, quality = training["request"], training["outcome"], evaluation["outcome"]
    # A training that spilled is judged like any other: that it diverged is what counts then.
    ended = cost if cost["status"] != "ok" and quality["status"] != "diverged" else quality
    return {
        **{key: request[key] for key in ("run", "precision", "rank", "seed")},
        "learning_rate": request["training"]["learning_rate"],
        **{key: ended.get(key) for key in ("status", "phase", "reason")},
        "basis": ended.get("basis", "measured"),
        "needs_gib": needs_gib(ended),
        **{key: quality.get(key) for key in ("perplexity", "eval_loss")},
        "base_perplexity": baseline["outcome"].get("perplexity"),
        "four_bit_share": (training.get("material") or {}).get("four_bit_share"),
        **{key: cost.get(key) for key in columns.COST},
        **{key: (training["environment"] or {}).get(key) for key in ("device", "host")},
    }


def needs_gib(outcome: Mapping[str, Any]) -> float | None:
    """Return the least memory, in GiB, that a run which ran out of it would have needed; None for any other run.

    That is what its weights take, or what it held and was refused.
    """
    if outcome["status"] != "oom":
        return None
    allocated, resident = outcome.get("peak_allocated_gib"), outcome.get("peak_host_gib")
    held = (resident or 0.0) if allocated is None else allocated
    return max(outcome.get("needs_gib") or 0.0, held + (outcome.get("refused_gib") or 0.0)) or None


def table(
    trainings: list[TrainingRecord],
    evaluations: list[EvaluationRecord],
    baselines: list[EvaluationRecord],
    varied: dict[str, dict[str, Any]] | None = None,
) -> pd.DataFrame:
    """Return all rows, sorted by configuration and seed; `notes` flags those of unlike machines or versions.

    The columns are the summary's without the derived ones. `varied` has, by run, the values of the settings of which
    the study has several; each of them beside the learning rate is a column more.
    """
    by_precision = {record["request"]["name"]: record for record in baselines}
    rows = []
    for training, evaluation in zip(trainings, evaluations, strict=True):
        rows.append(row_of(training, evaluation, by_precision[training["request"]["precision"]]))
    frame = pd.DataFrame(rows, columns=[name for name in columns.SUMMARY if name not in columns.DERIVED])
    for name in columns.FURTHER:
        if any(name in values for values in (varied or {}).values()):
            frame[name] = [varied[run][name] for run in frame["run"]]
    frame["notes"] = notes(trainings)
    frame = frame.astype(dict.fromkeys(columns.COUNTS, "Int64"))
    return columns.in_order(frame.sort_values([*axes_of(frame), "seed"], ignore_index=True))


def notes(trainings: list[TrainingRecord]) -> list[str | None]:
    """Return for each row what of its surroundings is not what the most rows have, in words; None where all is.

    The dtype of the products is compared among runs of one precision that ask for the same.
    """
    return unlike_most([surroundings(training["environment"]) | _products(training) for training in trainings])


def _products(training: TrainingRecord) -> dict[str, Any]:
    """Return the dtype of a run's products, under a name that says which runs' should be the same."""
    asked, taken = training["request"], training["outcome"].get("product_dtype")
    if not taken:
        return {}
    return {f"products over {asked['precision']} at compute_dtype {asked['compute_dtype']} are of": taken}


def surroundings(environment: Environment | None) -> dict[str, Any]:
    """Return what of a record's environment a reader should know to be unlike, flat.

    Empty for a process that was killed before it could tell.
    """
    known = environment or {"packages": {}}
    return {key: known[key] for key in _SURROUNDINGS if key in known} | known["packages"]


def unlike_most(facts: list[dict]) -> list[str | None]:
    """Return for each dict which of its values are not those that the most dicts have, in words; None where all are."""
    unlike: list[list[str]] = [[] for _ in facts]
    for name in dict.fromkeys(name for fact in facts for name in fact):
        values = [fact[name] for fact in facts if name in fact]
        counts = Counter(map(repr, values))
        usual = max(values, key=lambda value: counts[repr(value)])
        for remarks, fact in zip(unlike, facts, strict=True):
            if name in fact and fact[name] != usual:
                remarks.append(f"{name} {fact[name]}, not {usual}")
    return ["; ".join(remarks) or None for remarks in unlike]


def join_accuracy(frame: pd.DataFrame, accuracy: pd.DataFrame) -> pd.DataFrame:
    """Return the summary with each run's accuracy, its split and size, and the accuracy of its base.

    `accuracy` has a row for each run, by its name, and one for each base, by its precision.
    """
    measured = accuracy.set_index("run")
    names = ("strict", "strict_se", "flexible", "flexible_se", "split", "examples")
    own = {f"accuracy_{name}": frame["run"].map(measured[name]) for name in names}
    bases = {f"base_accuracy_{name}": frame["precision"].map(measured[name]) for name in ("strict", "flexible")}
    return frame.assign(**own, **bases).astype({"accuracy_examples": "Int64"})


def join_plan(frame: pd.DataFrame, plan: pd.DataFrame) -> pd.DataFrame:
    """Return the summary with what `plan` foretold of each run, and by how much it erred where the run was measured.

    A plan for another device than a run's says nothing of that run.
    """
    planned = {row["run"]: row for row in plan.to_dict("records")}
    frame = frame.copy()
    for place, row in zip(frame.index, frame.to_dict("records"), strict=True):
        foretold = planned.get(row["run"], {})
        if plan_errors.is_for(foretold.get("device"), row["device"]):
            for name, value in plan_errors.compared(foretold, row).items():
                frame.loc[place, name] = value
    return frame


def refuse_stale(names: list[str], found: list[str], expected: list[str]) -> None:
    """Raise UserError naming the records that were made under another configuration or other code.

    `found` and `expected` are the digests of each record of `names`, as recorded and as they would be now.
    """
    stale = [name for name, one, other in zip(names, found, expected, strict=True) if one != other]
    if stale:
        listed = ", ".join(stale[:3]) + (f" and {len(stale) - 3} more" if len(stale) > 3 else "")
        raise UserError(
            f"summary: {listed}: recorded under another configuration or code, so the row is refused; "
            f"make it again with snakemake --cores 1 -R {stale[0]}, or all of them with snakemake --cores 1 -F"
        )


def summarize_runs(job: dict) -> None:
    """Write results/summary.csv from the records of the job's runs and baselines."""
    inputs, expected = job["input"], job["request"]["expected"]
    kinds = ("trainings", "evaluations", "baselines")
    loaded = {kind: [records.read_json(path) for path in inputs[kind]] for kind in kinds}
    for kind in kinds:
        refuse_stale(inputs[kind], [record["digest"] for record in loaded[kind]], expected[kind])
    frame = table(loaded["trainings"], loaded["evaluations"], loaded["baselines"], job["request"]["varied"])
    runs = [record["request"]["run"] for record in loaded["trainings"]]
    losses = dict(zip(runs, map(pd.read_parquet, inputs["losses"]), strict=True))
    precisions = [record["request"]["name"] for record in loaded["baselines"]]
    bases = dict(zip(precisions, map(pd.read_parquet, inputs["base_losses"]), strict=True))
    frame = derived.with_derived_columns(frame, losses, job["request"]["budget"], bases)
    if inputs.get("plan"):
        frame = join_plan(frame, pd.read_csv(inputs["plan"]))
    if inputs.get("accuracy"):
        frame = join_accuracy(frame, pd.read_csv(inputs["accuracy"]))
    records.write_text(job["output"]["summary"], frame.to_csv(index=False))
    columns.say_table(said(frame))


def said(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what of the summary is printed; a run that training made worse is named so."""
    names = ["run", "status", "perplexity", "base_perplexity", "against_base", "train_seconds", "peak_memory_gib"]
    in_words = {derived.WORSE: "worse than untrained"}
    return frame[names].assign(against_base=frame["against_base"].replace(in_words))
