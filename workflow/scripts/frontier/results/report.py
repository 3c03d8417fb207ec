"""Write the whole study as one page that needs nothing but itself: results/report.html."""

import re
from pathlib import Path

import jinja2
import pandas as pd
import yaml
from itables import options
from itables.javascript import generate_init_offline_itables_html

from frontier import axes, paths, records
from frontier.data_types import TokensRecord
from frontier.outcome_types import Status
from frontier.record_types import Environment
from frontier.results import columns
from frontier.results.captions import captions, of_rates
from frontier.results.claims.claim import VERDICTS
from frontier.results.figures import svg
from frontier.results.figures.canvas import BROAD, NARROW, WIDE, Drawn, time_unit
from frontier.results.figures.draw import FIGURES, TITLES, is_broad, read_results

# The summary's columns that a page shows of runs that did not end ok.
_UNFINISHED = ("run", "status", "phase", "reason", "basis", "resumes")


def context(
    results: Drawn, claims: list, study: dict, environments: list[Environment | None], tokens: TokensRecord
) -> dict:
    """Return all that the template shows, as plain values; `claims` is what findings.json has, and may be empty."""
    summary = results.table
    unfinished = summary[summary["status"] != Status.OK]
    kept = unfinished[[name for name in _UNFINISHED if name in unfinished]]
    return {
        "study": study,
        "subject": subject(study),
        "tokens": tokens,
        "counts": {"runs": len(summary), "ok": len(summary) - len(unfinished), "seeds": summary["seed"].nunique()},
        "recommendation": recommendation(summary, claims),
        "findings": [one for one in claims if one["part"] == "study" and one["id"] != "recommendation"],
        "others": [one for one in claims if one["part"] == "others"],
        "verdicts": {
            name: sum(one["verdict"] == name for one in claims if one["part"] == "study") for name in VERDICTS
        },
        "rates": of_rates(results) | {"tried": [*map(axes.text, results.rates)]},
        "figures": draw(results),
        "columns": columns.cells(summary),
        "rows": len(summary),
        "unfinished": {"columns": columns.cells(kept), "rows": len(kept)},
        "environments": distinct(environments),
        "config": yaml.safe_dump(study, sort_keys=False, allow_unicode=True),
    }


def subject(study: dict) -> dict:
    """Return what was trained and on what, each in a few words."""
    model, data = study["model"], study["data"]
    names = {"package": "package", "hub": "id", "path": "path"}
    source = model["source"]
    named = f"a {model['config']['model_type']} of random weights" if source == "architecture" else model[names[source]]
    return {
        "model": f"{named} {model['version']}" if source == "package" else named,
        "data": data[{"reasoning-gym": "dataset", "jsonl": "train_file", "hub": "id"}[data["source"]]],
    }


def recommendation(summary: pd.DataFrame, claims: list) -> dict | None:
    """Return the recommendation's claim with its `run` and that run's `facts`; None where there are no findings."""
    claim = next((one for one in claims if one["id"] == "recommendation"), None)
    if claim is None:
        return None
    name = claim["evidence"]["values"].get("run")
    rows = summary[summary["run"] == name]
    return claim | {"run": name, "facts": key_figures(rows.iloc[0]) if len(rows) else []}


def key_figures(row: pd.Series) -> list[dict]:
    """Return a run's three figures: perplexity with its interval, training time in a fitting unit, peak memory."""
    divisor, unit = time_unit(pd.Series([row["train_seconds"]]))
    found = [{"name": "perplexity", "value": f"{row['perplexity']:.2f}", "unit": ""}]
    if pd.notna(row.get("perplexity_low")):
        found[0]["more"] = f"{row['perplexity_low']:.2f} to {row['perplexity_high']:.2f}, 95%"
    found.append({"name": "training time", "value": f"{row['train_seconds'] / divisor:.1f}", "unit": unit})
    found.append({"name": "peak memory", "value": f"{row['peak_memory_gib']:.2f}", "unit": "GiB"})
    return found


def distinct(environments: list[Environment | None]) -> list[dict]:
    """Return each different environment that runs were made in as `facts`, with the number of its `runs`.

    Times of day make no difference, nor does which of a host's devices a run had. A run whose process was killed before
    it could tell has no environment, and is not counted.
    """
    counted: list[dict] = []
    for environment in filter(None, environments):
        lasting = {key: value for key, value in environment.items() if not key.endswith(("_at", "_ids"))}
        known = next((one for one in counted if one["facts"] == lasting), None)
        if known:
            known["runs"] += 1
        else:
            counted.append({"facts": lasting, "runs": 1})
    return sorted(counted, key=lambda one: -one["runs"])


def draw(results: Drawn) -> list[dict]:
    """Return every figure in two widths, with its title, its caption, and whether it takes the page's whole width."""
    said, drawn = captions(results), []
    for name, function in FIGURES.items():
        broad = is_broad(name, results)
        drawn.append({"name": name, "title": TITLES[name], "caption": said[name], "broad": broad})
        for width, size in (("wide", BROAD if broad else WIDE), ("narrow", NARROW)):
            drawn[-1][width] = svg.inline(function, results, size, f"{name}-{width}", said[name])
    return drawn


def render(template: Path, values: dict) -> str:
    """Return the page, with DataTables from itables inside; whatever the values hold is escaped."""
    loader = jinja2.FileSystemLoader(template.parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    library = generate_init_offline_itables_html(options.dt_bundle)
    # Behind the script itables puts a notice for notebooks, which is no part of a page.
    library = library[: library.index("</script>") + len("</script>")]
    promise = re.search(r"window\.(_itables_\w+)", library)[1]
    hidden = [position for position, one in enumerate(values["columns"]) if not one["column"].shown]
    page = environment.get_template(template.name)
    return page.render(**values, table_library=library, table_promise=promise, hidden=hidden)


def write_report(job: dict) -> None:
    """Write the report from the summary, the findings, the histories, the losses and the runs' records."""
    inputs, request = job["input"], job["request"]
    results = read_results(inputs, request["study"]["budget"])
    trainings = [records.read_json(path) for path in inputs["trainings"]]
    values = context(
        results,
        records.read_json(inputs["findings"]),
        request["study"],
        [training["environment"] for training in trainings],
        records.read_json(inputs["tokens"]),
    )
    records.write_text(job["output"]["report"], render(paths.TEMPLATE, values))
