"""Write the whole study as one page that needs nothing but itself: results/report.html."""

import re
from pathlib import Path, PurePosixPath

import jinja2
import pandas as pd
import yaml
from itables import options
from itables.javascript import generate_init_offline_itables_html

from frontier import axes, paths, records
from frontier.data_types import FEW_EXAMPLES
from frontier.material_types import ModelRecord
from frontier.outcome_types import Status
from frontier.record_types import Environment
from frontier.results import columns
from frontier.results.captions import captions, of_rates
from frontier.results.claims.claim import VERDICTS
from frontier.results.figures import svg
from frontier.results.figures.canvas import BROAD, NARROW, WIDE, Drawn
from frontier.results.figures.draw import FIGURES, TITLES, is_broad, read_results
from frontier.results.figures.shipping import figure_of
from frontier.results.recommended import recommendation
from frontier.results.shipping import uses
from frontier.token_types import TokensRecord

# The summary's columns that a page shows of runs that did not end ok.
_UNFINISHED = ("run", "status", "phase", "reason", "basis", "resumes")


# The columns of results/shipping.csv that a page shows.
_SHIPPED = (
    "run",
    "what",
    "status",
    "reason",
    "perplexity",
    "against_as_trained",
    "against_low",
    "against_high",
    "told",
    "accuracy_strict",
    "size_mib",
    "bits_a_weight",
    "recommended_for",
)


def context(
    results: Drawn,
    claims: list,
    study: dict,
    environments: list[Environment | None],
    tokens: TokensRecord,
    model: ModelRecord,
) -> dict:
    """Return all that the template shows, as plain values; `claims` is what findings.json has, and may be empty."""
    summary = results.table
    unfinished = summary[summary["status"] != Status.OK]
    kept = unfinished[[name for name in _UNFINISHED if name in unfinished]]
    return {
        "study": study,
        "subject": subject(study),
        "tokens": tokens,
        "few": tokens["validation"]["examples"] < FEW_EXAMPLES,
        "counts": {"runs": len(summary), "ok": len(summary) - len(unfinished), "seeds": summary["seed"].nunique()},
        "recommendation": recommendation(summary, claims, tokens, model),
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
        "shipping": None,
        "environments": distinct(environments),
        "config": yaml.safe_dump(study, sort_keys=False, allow_unicode=True),
    }


def shipping(table: pd.DataFrame) -> dict:
    """Return what the page says of the ways of using an adapter: the recommended ones, a figure, and a table."""
    shown = table[[name for name in _SHIPPED if name in table]]
    label = "Perplexity of each way of using the adapter against the run as trained"
    drawn = {
        width: svg.inline(figure_of, table, size, f"shipping-{width}", label)
        for width, size in (("wide", BROAD), ("narrow", NARROW))
    }
    lines = [line for _, rows in table.groupby("run", sort=False) for line in uses.lines(rows)]
    return {"lines": lines, "columns": columns.cells(shown, columns.SHIPPING), "rows": len(shown)} | drawn


def subject(study: dict) -> dict:
    """Return what was trained and on what, each in a few words."""
    model, data = study["model"], study["data"]
    names = {"package": "package", "hub": "id", "path": "path"}
    source = model["source"]
    named = f"a {model['config']['model_type']} of random weights" if source == "architecture" else model[names[source]]
    if source == "package":
        # The file's name is the model's own; the package may hold several.
        file = f"{PurePosixPath(model['file']).name} of " if model.get("file") else ""
        named = f"{file}{named} {model['version']}"
    return {
        "model": named,
        "data": data[
            {"reasoning-gym": "dataset", "jsonl": "train_file", "file": "train_file", "hub": "id"}[data["source"]]
        ],
    }


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
        records.read_json(inputs["model"]),
    )
    if inputs.get("shipping"):
        values["shipping"] = shipping(pd.read_csv(inputs["shipping"]))
    records.write_text(job["output"]["report"], render(paths.TEMPLATE, values))
