"""Write what several studies come to as one page that needs nothing but itself: results/merged.html."""

from frontier import paths, records
from frontier.errors import UserError
from frontier.progress import say
from frontier.results.claims.bounds import FEWEST_EXAMPLES
from frontier.results.claims.claim import NOT_MEASURED, Evidence, listing
from frontier.results.claims.limits import limits_of
from frontier.results.figures import svg
from frontier.results.figures.canvas import NARROW, WIDE, Drawn
from frontier.results.figures.merged import coloured_by, perplexity_hours, perplexity_memory
from frontier.results.findings import state
from frontier.results.merged.answer import answer, evidence_of
from frontier.results.merged.groups import Group, groups_of
from frontier.results.merged.studies import Study, read_studies
from frontier.results.merged.table import cells_of, table_of
from frontier.results.report import render, subject

_FIGURES = {
    "memory": ("What memory buys", perplexity_memory, "Validation perplexity over what a run had on its card"),
    "time": ("What time buys", perplexity_hours, "Validation perplexity over training time"),
}


def context(studies: list[Study], budget: dict, limits: dict) -> dict:
    """Return all that the template shows, as plain values; `limits` are the recommendation's own, before the budget's.

    Raises UserError where no run may be compared with any.
    """
    groups = groups_of(studies)
    if not groups:
        raise UserError("merge: no run of these studies ended ok with its perplexity measured")
    shown = [_group(number, group, groups[0], budget, limits) for number, group in enumerate(groups, 1)]
    return {
        "studies": [one.folder for one in studies],
        "left_aside": [*filter(None, (one.nothing_finished for one in studies))],
        "groups": shown,
        "limits": shown[0]["limits"],
        "cards": sorted({card for group in groups for card in group.cards}),
        "runs": sum(len(one.summary) for one in studies),
        "tables": [(f"{one['id']}-table", one["hidden"]) for one in shown],
        "columns": [],
    }


def _group(number: int, group: Group, first: Group, budget: dict, limits: dict) -> dict:
    """Return what the template shows of a group: its answer, its figures, its table."""
    results = evidence_of(group, budget, limits)
    table = table_of(group, results)
    cells, material = cells_of(table), group.training.get("material")
    examples = material["data"]["validation"]["examples"] if material else None
    return {
        "number": number,
        "id": f"group-{number}",
        "subject": _subject(group),
        "examples": examples,
        "folders": group.folders,
        "cards": listing(group.cards) or "a card that is not told",
        "unlike": [] if group is first else group.unlike(first),
        "figures": _figures(number, group, results, budget),
        "columns": cells,
        "findings": _findings(results),
        "rows": len(table),
        "hidden": [place for place, one in enumerate(cells) if not one["column"].shown],
        "notes": _notes(group, examples),
    } | answer(group, results)


def _findings(results: Evidence) -> list[dict]:
    """Return what a study's own claims come to, those that could be judged; what to use stands in the answer."""
    claims = [one for one in state(results) if one["part"] == "study" and one["id"] != "recommendation"]
    return [one for one in claims if one["verdict"] != NOT_MEASURED]


def _subject(group: Group) -> dict:
    """Return what was trained and on what, each in a few words."""
    try:
        material = group.training["material"]
        return subject({"model": material["model"]["source"], "data": material["data"]["examples"]["source"]})
    except (KeyError, TypeError):
        return {"model": "a model that its records do not name", "data": "data that they do not name"}


def _notes(group: Group, examples: int | None) -> list[str]:
    """Return what a reader should know before comparing runs of a group, each in a line."""
    lines = []
    if len(group.cards) > 1:
        lines.append("hours are each card's own, so that a slower card has more of them for the same training")
    if group.losses is None and examples is not None and examples < FEWEST_EXAMPLES:
        lines.append(f"{examples} validation examples are few: intervals hold what they say from {FEWEST_EXAMPLES} on")
    if group.measured["memory_metric"].nunique() > 1:
        metrics = listing(sorted(group.measured["memory_metric"].unique()))
        lines.append(f"memory is counted in more than one way ({metrics}), so that which is cheapest is no fair answer")
    return lines


def _figures(number: int, group: Group, results, budget: dict) -> list[dict]:
    """Return the figures of a group in two widths, with their titles and captions."""
    drawn = Drawn(group.table, {}, budget | limits_of(results), group.losses)
    colour = coloured_by(group.table)
    rest = f"; a colour is a {colour}, a line joins a configuration's seeds. Bars are each run's own 95% interval."
    found = []
    for key, (title, function, said_of) in _FIGURES.items():
        one = {"name": f"{key}-{number}", "title": title, "caption": said_of + rest}
        for width, size in (("wide", WIDE), ("narrow", NARROW)):
            one[width] = svg.inline(function, drawn, size, f"{key}-{number}-{width}", said_of)
        found.append(one)
    return found


def write_merged(job: dict) -> None:
    """Write results/merged.html from the folders' summaries, records and losses."""
    request = job["request"]
    if not request["folders"]:
        raise UserError("config: merge: got nothing, takes folders of studies that have their results/summary.csv")
    studies = read_studies(request["folders"])
    values = context(studies, request["budget"], request["recommend"])
    records.write_text(job["output"]["page"], render(paths.MERGED, values))
    for line in values["left_aside"]:
        say(f"merge: {line}")
    for one in values["groups"]:
        say(f"{', '.join(one['folders'])}: {one['heading']} (limits: {one['limits']})")
        say(f"    {one['sentence']}")
