"""Put runs of several studies into groups: within one they may be compared, across two they may not."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from frontier import records
from frontier.outcome_types import Status
from frontier.record_types import EvaluationRecord, TrainingRecord
from frontier.results import contrasts, uncertainty
from frontier.results.configurations import ON, axes_of
from frontier.results.contrasts import Losses
from frontier.results.derived import held_gib
from frontier.results.frontier import frontier
from frontier.results.merge import material, settings, with_settings
from frontier.results.merged.studies import Study

# A fact that only runs with losses of each example tell; the others hold for those without all the same.
_EXAMPLES = "validation examples"
_NO_LOSSES = pd.DataFrame({"nll": [], "tokens": []})
_TEXTS = {
    "model": "another model",
    "data": "other data",
    "training code": "other training code",
    "evaluation code": "other evaluation code",
    "evaluation dtype": "another dtype of the evaluation",
    _EXAMPLES: "other validation examples",
}


@dataclass
class _Member:
    """A run on its way into a group: its row, where it is from, and what it was made from."""

    study: Study
    row: pd.Series
    training: TrainingRecord
    evaluation: EvaluationRecord
    losses: pd.DataFrame | None
    facts: dict[str, Any]


@dataclass(frozen=True)
class Group:
    """Runs that may be compared. `facts` has what they were made from, as digests, None for what is not known.

    `table` has a row a run, told apart as `_told_apart` says; `losses` is None where a measured run's are not at hand.
    """

    facts: dict[str, Hashable]
    table: pd.DataFrame
    losses: Losses | None
    training: TrainingRecord
    folders: list[str]

    @property
    def measured(self) -> pd.DataFrame:
        """The rows of runs that ended ok."""
        return self.table[self.table["status"] == Status.OK]

    @property
    def cards(self) -> list[str]:
        """The devices that its runs were made on."""
        return sorted(self.table["device"].dropna().unique())

    def unlike(self, other: "Group") -> list[str]:
        """Return in what this group was not made from what another was made from, in words."""
        told = []
        for name, value in self.facts.items():
            if value is None and name != _EXAMPLES:
                told.append(f"{name} that its records do not tell")
            elif None not in (value, other.facts[name]) and value != other.facts[name]:
                told.append(_TEXTS[name])
        return told or ["the other group's records do not tell what it was made from"]


@dataclass
class _Gathered:
    """A group as it grows."""

    facts: dict[str, Any]
    folder: str | None
    members: list[_Member] = field(default_factory=list)


def groups_of(studies: list[Study]) -> list[Group]:
    """Return the groups of the studies' runs, those of the most measured runs first; none without a measured run."""
    members = [one for study in studies for one in _members(study)]
    gathered: list[_Gathered] = []
    # Those that know all found the groups; one that ended early, and so knows less, joins what it agrees with.
    for one in sorted(members, key=lambda one: sum(value is None for value in one.facts.values())):
        home = _home(one, gathered)
        if home is None:
            home = _Gathered(one.facts, one.study.folder if _is_vague(one) else None)
            gathered.append(home)
        home.members.append(one)
    order = {id(one): place for place, one in enumerate(members)}
    for some in gathered:
        some.members.sort(key=lambda one: order[id(one)])
    found = [_group(one) for one in gathered if any(member.row["status"] == Status.OK for member in one.members)]
    return sorted(found, key=lambda group: -len(group.measured))


def _members(study: Study) -> list[_Member]:
    """Return a study's runs."""
    found = []
    rows = (row for _, row in study.summary.iterrows())
    for row, training, evaluation, losses in zip(rows, study.trainings, study.evaluations, study.losses, strict=True):
        known = losses is not None and contrasts.is_measured(losses)
        facts = material(training, evaluation)
        facts["evaluation dtype"] = evaluation["request"].get("compute_dtype")
        facts[_EXAMPLES] = records.digest([int(count) for count in losses["tokens"]]) if known else None
        found.append(_Member(study, row, training, evaluation, losses if known else None, facts))
    return found


def _is_vague(one: _Member) -> bool:
    """Return whether a run was measured without a word of what it was made from, so that it has its study's group."""
    unknown = {name for name, value in one.facts.items() if value is None}
    return one.row["status"] == Status.OK and bool(unknown - {_EXAMPLES})


def _home(one: _Member, gathered: list[_Gathered]) -> _Gathered | None:
    """Return the group that a run belongs to, of several the one that has runs of its study; None where none is."""
    if _is_vague(one):
        fitting = [some for some in gathered if some.folder == one.study.folder and some.facts == one.facts]
    else:
        known = {name: value for name, value in one.facts.items() if value is not None}
        fitting = [some for some in gathered if all(some.facts[name] in (value, None) for name, value in known.items())]
        fitting = [some for some in fitting if some.folder in (None, one.study.folder)]
    own = [some for some in fitting if any(member.study is one.study for member in some.members)]
    return next(iter(own or fitting), None)


def _group(gathered: _Gathered) -> Group:
    """Return a group of what was gathered."""
    members = gathered.members
    bases: dict[str, pd.DataFrame] = {}
    table = pd.DataFrame([one.row for one in members]).reset_index(drop=True).infer_objects()
    table.insert(0, "folder", [one.study.folder for one in members])
    asked = [settings(one.training, one.evaluation) for one in members]
    folders = list(dict.fromkeys(table["folder"]))
    places = zip(table["folder"], table["run"], strict=True)
    adapters = [str(Path(folder) / "results/runs" / run / "adapter") for folder, run in places]
    table = _told_apart(with_settings(table, asked)).assign(adapter=adapters, held_gib=held_gib)
    frames = dict(zip(table.index, (one.losses for one in members), strict=True))
    for study in {id(one.study): one.study for one in members}.values():
        bases |= {name: frame for name, frame in study.bases.items() if name not in bases}
    if len(folders) > 1:
        table["run"] = table["run"] + " of " + table["folder"]
    known = {place: frame for place, frame in frames.items() if frame is not None}
    standing = frontier(table.drop(columns="folder"), known)
    table = table.assign(**standing)
    training = next(one.training for one in members if one.row["status"] == Status.OK)
    return Group(gathered.facts, table, _losses(table, frames, bases), training, folders)


def _told_apart(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a column `on` where the card tells configurations apart, and else the study.

    The study does where one card has a configuration with one seed in two studies: these are no two seeds.
    """
    table = table.assign(device=_devices(table))
    cards = table["device"] if table["device"].nunique() > 1 else pd.Series("", index=table.index)
    same = [*axes_of(table), "device"]
    twice = table[table.duplicated([*same, "seed"], keep=False)][same].drop_duplicates()
    if len(twice):
        marked = table[same].merge(twice.assign(_twice=True), how="left", on=same)["_twice"].notna().to_numpy()
        studies = table["folder"].where(marked, "")
        cards = (cards + ", " + studies).str.strip(", ")
    return table.assign(**{ON: cards.where(cards != "", None)}) if (cards != "").any() else table


def _devices(table: pd.DataFrame) -> pd.Series:
    """Return the device of each row; of a run that was killed before it could tell, its study's if that had one.

    What is still not told gets a name of its own beside devices that are.
    """
    ones = {folder: some.dropna().unique() for folder, some in table.groupby("folder")["device"]}
    by_study = table["folder"].map({folder: some[0] for folder, some in ones.items() if len(some) == 1})
    told = table["device"].astype(object).where(table["device"].notna(), by_study)
    return told.fillna("a card not told") if told.notna().any() else told


def _losses(table: pd.DataFrame, frames: dict, bases: dict[str, pd.DataFrame]) -> Losses | None:
    """Return the losses of all runs and bases; None where those of a measured run are not at hand."""
    measured = table.dropna(subset=["eval_loss"])
    if any(frames[place] is None for place in measured.index):
        return None
    runs = {table.loc[place, "run"]: _NO_LOSSES if frame is None else frame for place, frame in frames.items()}
    tokens = frames[measured.index[0]]["tokens"]
    same = {name: frame for name, frame in bases.items() if np.array_equal(frame["tokens"], tokens)}
    return contrasts.gather(table, runs, same, uncertainty.DRAWS)
