"""Read what others have published, config/claims.yaml, and say which of it these runs bear out."""

import re

import yaml

from frontier import paths
from frontier.errors import UserError, first_line
from frontier.results.claims.claim import CONTRADICTED, SUPPORTED, not_measured

# The keys of an entry, each with what it takes.
_TAKES = {
    "id": "small letters, digits and _, and no other claim's",
    "source": "who states it, and where",
    "date": "YYYY, YYYY-MM or YYYY-MM-DD, or unknown",
    "statement": "what is stated, in a sentence of its own",
    "judge": "the id of the claim that judges it here, or null where none can",
    "holds_where": "the judge's verdict that bears it out: supported or contradicted",
    "takes": "what it would take to judge it, where judge is null",
    "against": "the id of a statement of the same source that it contradicts",
}
_ALWAYS = ("id", "source", "date", "statement", "judge")
_ID = re.compile(r"[a-z][a-z0-9_]*")
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?|unknown")
_OPPOSITE = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}


def read(study: list[str], judges: list[str]) -> list[dict]:
    """Return the published claims of config/claims.yaml, each with every key of an entry; absent ones are None.

    `study` has the ids that are taken, `judges` those that an entry may name. Raises UserError, one line, for a file
    that is not such a list.
    """
    try:
        entries = yaml.safe_load(paths.CLAIMS.read_text("utf-8")) or []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"config/claims.yaml: {first_line(error)}; takes a list of published claims") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise UserError(f"config/claims.yaml: no YAML{place}; takes a list of published claims") from error
    if not isinstance(entries, list):
        raise UserError("config/claims.yaml: takes a list of published claims, each with id, source, date ...")
    found: list[dict] = []
    for number, entry in enumerate(entries, 1):
        found.append(_entry(number, entry, [*study, *(one["id"] for one in found)], judges))
    sources = {one["id"]: one["source"] for one in found}
    for number, one in enumerate(found, 1):
        other = one["against"]
        if other is not None and (other == one["id"] or sources.get(other) != one["source"]):
            raise _refusal(number, "against", other)
    return found


def hold(entries: list[dict], judged: dict[str, dict]) -> list[dict]:
    """Return each published claim as findings.json has it, with the verdict that its judge's comes to."""
    return [_held(one, judged) for one in entries]


def _held(entry: dict, judged: dict[str, dict]) -> dict:
    """Return one published claim, judged; `judged` has every judge's claim by its id."""
    told = {key: entry[key] for key in ("source", "date", "statement", "judge", "against")}
    if entry["judge"] is None:
        return not_measured(entry["id"], entry["takes"]) | {"published": told}
    one = judged[entry["judge"]]
    verdict = one["verdict"] if entry["holds_where"] == SUPPORTED else _OPPOSITE.get(one["verdict"], one["verdict"])
    return one | {"id": entry["id"], "verdict": verdict, "published": told}


def _entry(number: int, entry, taken: list[str], judges: list[str]) -> dict:
    """Return an entry of the file with all keys; raise UserError for one that is not as they take."""
    if not isinstance(entry, dict):
        raise UserError(f"config/claims.yaml: entry {number}: takes the keys {', '.join(_ALWAYS)}")
    for key in entry:
        if key not in _TAKES:
            raise UserError(f"config/claims.yaml: entry {number}: {key}: unknown key; takes {', '.join(_TAKES)}")
    for key in _ALWAYS:
        if key not in entry:
            raise UserError(f"config/claims.yaml: entry {number}: {key}: missing; takes {_TAKES[key]}")
    one = dict.fromkeys(_TAKES) | {"holds_where": SUPPORTED} | entry
    # YAML reads 2023 as a number and 2023-05-23 as a date.
    one["date"] = str(one["date"])
    good = {
        "id": isinstance(one["id"], str) and _ID.fullmatch(one["id"]) and one["id"] not in taken,
        "source": _is_text(one["source"]),
        "date": _DATE.fullmatch(one["date"]),
        "statement": _is_text(one["statement"]),
        "judge": one["judge"] is None or one["judge"] in judges,
        "holds_where": one["holds_where"] in (SUPPORTED, CONTRADICTED),
        "takes": _is_text(one["takes"]) if one["judge"] is None else one["takes"] is None,
    }
    wrong = next((key for key, is_good in good.items() if not is_good), None)
    if wrong:
        raise _refusal(number, wrong, one[wrong])
    return one


def _refusal(number: int, key: str, value) -> UserError:
    """Return the refusal of a value of an entry."""
    given = "nothing" if value is None else value
    return UserError(f"config/claims.yaml: entry {number}: {key}: got {given}; takes {_TAKES[key]}")


def _is_text(value) -> bool:
    """Return whether a value is a text of one line with something in it."""
    return isinstance(value, str) and bool(value.strip()) and "\n" not in value.strip()
