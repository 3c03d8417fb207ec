"""The job that asks a card what could be trained on it: results/options.csv."""

import pandas as pd
import psutil

from frontier import records
from frontier.machine.device import open_device
from frontier.option_types import OptionRow
from frontier.plan import calibration, options, roofline
from frontier.plan.at_once import results_of
from frontier.plan.options import Place
from frontier.plan.planner import CONTEXT_GIB
from frontier.progress import Pacer, say
from frontier.request_types import AskRequest, Job
from frontier.study import cards
from frontier.units import GIB

HOW_TO_NAME = "name a card: make ask CARD='RTX 3060' ROWS=3000 HOURS=8, or its memory, CARD='12 GB'"


def ask_card(job: Job[AskRequest]) -> None:
    """Write results/options.csv, and what each shape needs at the least; print the fastest options of each shape."""
    request = job["request"]
    places, lines = _places(request)
    study, rows, hours = request["study"], request["rows"], request["hours"]
    names = options.names(study)
    if (line := options.known_own(study)) is not None:
        lines.append(line)
        names.remove(options.OWN)
    for line in lines:
        say(line)
    found: dict[str, list[OptionRow]] = {}
    least: dict[str, dict[str, float]] = {}
    sizes: dict[str, float] = {}
    pacer = Pacer(first_at_once=True)
    for place, done in results_of(lambda name: options.look(name, study, places, rows, hours), names):
        name = names[place]
        found[name], least[name], sizes[name] = done
        pacer.tell(f"looked at {len(found)} of {len(names)} shapes", is_last=len(found) == len(names))
    order = sorted(names, key=lambda name: (name != options.OWN, min(least[name].values())))
    frame = pd.DataFrame([row for name in order for row in found[name]], columns=[*OptionRow.__annotations__])
    records.write_text(job["output"]["options"], frame.to_csv(index=False))
    models = [{"name": name, "billions": sizes[name], "least_gib": least[name]} for name in order]
    told_places = [{"name": one.name, "memory_gib": one.memory_gib} for one in places]
    smallest = f"rank {options.RANKS[0]}, one example of {options.LENGTHS[0]} tokens, checkpointing"
    records.write_json(job["output"]["least"], {"places": told_places, "smallest": smallest, "models": models})
    for line in told(frame, rows, hours):
        say(line)


def told(frame: pd.DataFrame, rows: int, hours: float | None) -> list[str]:
    """Return what is printed of the table: of each device, shape and precision the fastest of the smallest options.

    `ranks` and `lengths` are those that fit at all, each with the smallest of the other.
    """
    within = f" within {hours:g} hours" if hours else ""
    if frame.empty:
        return [f"nothing fits{within}; a smaller model or a shorter example might"]
    rank, length = options.RANKS[0], options.LENGTHS[0]
    kinds = ["device", "model", "precision"]
    short = frame[(frame["rank"] == rank) & (frame["length"] == length)]
    best = short.sort_values(["hours", "gradient_checkpointing"], kind="stable", na_position="last")
    best = best.drop_duplicates(kinds).sort_index().set_index(kinds)
    shown = pd.DataFrame(
        {
            "ranks": frame[frame["length"] == length].groupby(kinds)["rank"].apply(_listed),
            "lengths": frame[frame["rank"] == rank].groupby(kinds)["length"].apply(_listed),
        }
    ).reindex(best.index)
    shown = shown.assign(
        micro_batch_size=best["micro_batch_size"],
        checkpointing=best["gradient_checkpointing"].map({True: "yes", False: "no"}),
        peak_gib=best["peak_gib"],
        seconds_per_step=best["seconds_per_step"],
        hours=best["hours"],
    ).reset_index()
    has_hours = frame["hours"].notna().any()
    left_out = [] if has_hours else ["seconds_per_step", "hours"]
    left_out += ["device"] if frame["device"].nunique() == 1 else []
    text = shown.drop(columns=left_out).to_string(index=False, float_format="{:.2f}".format, na_rep="")
    what = f"batch, peak{' and hours' if has_hours else ''} are of rank {rank} and examples of {length} tokens"
    time = f"; hours are for {rows:,} examples, each learned once, in steps of {options.BATCH_SIZE}"
    unknown = "; hours take a card's name, such as CARD='RTX 3060'"
    last = f"all {len(frame)} options{within if has_hours else ''}, with every rank and length: results/options.csv"
    return [text, f"{what}{time if has_hours else unknown}", last]


def _listed(values: pd.Series) -> str:
    return ", ".join(map(str, sorted(set(values))))


def _places(request: AskRequest) -> tuple[list[Place], list[str]]:
    """Return the devices that are asked about, all of one kind, and the lines that say which they are."""
    figures = request["card"] or _present(request)
    if figures is None:
        sizes = [cards.find(f"{size} GB") for size in options.COMMON_SIZES]
        return [_place(one) for one in sizes], [f"no GPU is here, so this is for cards by their memory; {HOW_TO_NAME}"]
    place = _place(figures)
    speed = "" if place.rates else ", of unknown speed: no hours"
    lines = [f"asked of {place.name}: {place.memory_gib:g} GiB{speed}"]
    return [place], lines + [line for line in (cards.caution(figures),) if line]


def _present(request: AskRequest) -> dict | None:
    """Return the figures of the GPU that is here, with its rates if they were measured; None without one."""
    device = open_device(request["device"], request["cpu_threads"])
    return calibration.figures_here(device) if device.type == "cuda" else None


def _place(figures: dict) -> Place:
    rates, _ = roofline.of_figures(figures)
    capability = tuple(figures["capability"]) if figures["capability"] is not None else None
    context = figures.get("context_gib", CONTEXT_GIB) if capability else psutil.Process().memory_info().rss / GIB
    return Place(figures["name"], figures["memory_gib"], context, capability, rates)
