"""Say which configurations nothing beats beyond noise in memory, time and loss, and by what the others are beaten.

A configuration stands at the means of its seeds. docs/findings.md has the rule.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse import csgraph

from frontier.outcome_types import Status
from frontier.results.claims.claim import NEGLIGIBLE_LOSS, NEGLIGIBLE_TIME, SPREAD_GIB
from frontier.results.configurations import configurations_of
from frontier.results.noise import Axis, axis_of, behind, losses_of

UNTRAINED = "the untrained model"
_AXES = ["peak_memory_gib", "train_seconds", "perplexity"]


def frontier(summary: pd.DataFrame, frames: Mapping[Any, pd.DataFrame]) -> pd.DataFrame:
    """Return `pareto` and `beaten_by` for each run of a summary, the same for all runs of a configuration.

    `frames` has the per-example losses of rows by their index; a row without any is judged by the spread of seeds.
    Compared are runs that ended ok with memory, time and perplexity measured, within one device and memory metric. The
    rest is empty.
    """
    found = pd.DataFrame({"pareto": pd.NA, "beaten_by": None}, index=summary.index)
    found["pareto"] = found["pareto"].astype("boolean")
    measured = summary[summary["status"] == Status.OK].dropna(subset=_AXES)
    for _, rows in measured.groupby(["device", "memory_metric"]):
        names = _names(rows)
        worse = names[rows["against_base"] == "worse"] if "against_base" in rows else names[:0]
        untrained = names.isin(worse)
        found.loc[rows.index[untrained], "pareto"] = False
        found.loc[rows.index[untrained], "beaten_by"] = UNTRAINED
        kept = [one.index for _, one in rows[~untrained].groupby(names[~untrained], sort=False)]
        for places, beater in zip(kept, _beaters(rows, kept, frames), strict=True):
            found.loc[places, "pareto"] = beater is None
            found.loc[places, "beaten_by"] = None if beater is None else names[kept[beater][0]]
    return found


def _names(rows: pd.DataFrame) -> pd.Series:
    """Return the name of each row's configuration, its folder in front in a table of several."""
    names = pd.Series([one.title() for one in configurations_of(rows)], index=rows.index)
    return rows["folder"].astype(str) + ": " + names if "folder" in rows else names


def _beaters(rows: pd.DataFrame, several: list[pd.Index], frames: Mapping[Any, pd.DataFrame]) -> list[int | None]:
    """Return for each configuration, given by its rows, the one that beats it; None where none does.

    Where noise lets configurations beat each other in a circle, none of the circle counts as beaten by another of it.
    """
    if not several:
        return []
    beats = _beats(rows, several, frames)
    _, circle = csgraph.connected_components(sparse.csr_matrix(beats), connection="strong")
    outside = beats & (circle[:, None] != circle)
    entered = np.zeros(circle.max() + 1, bool)
    entered[circle[outside.any(axis=0)]] = True
    loss = np.array([rows.loc[places, "eval_loss"].mean() for places in several])
    # A beater on the frontier is named before one that is off it, then the one with the lower loss.
    place = np.argsort(np.lexsort((loss, entered[circle])))
    found: list[int | None] = []
    for one in range(len(several)):
        rivals = np.flatnonzero(beats[:, one])
        found.append(int(rivals[place[rivals].argmin()]) if entered[circle[one]] else None)
    return found


def _beats(rows: pd.DataFrame, several: list[pd.Index], frames: Mapping[Any, pd.DataFrame]) -> np.ndarray:
    """Return which configuration (first axis) beats which (second axis).

    It is better beyond noise in memory, time or loss, worse beyond noise in none, and its loss is not higher by 2%.
    """
    costs = [_cost(rows, several, column) for column in ("peak_memory_gib", "train_seconds")]
    losses = losses_of(rows, several, frames)
    beats: np.ndarray = np.zeros((len(several), len(several)), bool)
    every = np.arange(len(several))
    for one in range(len(several)):
        apart = [axis.means[one] - axis.means for axis in costs]
        noise = [axis.noise(one, every) for axis in costs]
        no_worse = np.all([gap <= margin for gap, margin in zip(apart, noise, strict=True)], axis=0)
        cheaper = np.any([gap < -margin for gap, margin in zip(apart, noise, strict=True)], axis=0)
        higher = losses.axis.means[one] - losses.axis.means
        beats[one] = no_worse & cheaper & (higher <= 0)
        unsure = no_worse & np.where(cheaper, (higher > 0) & (higher < NEGLIGIBLE_LOSS), higher < 0)
        places = np.flatnonzero(unsure)
        low, high = behind(losses, one, places)
        beats[one, places] = np.where(cheaper[places], low <= 0, high < 0)
    return beats


def within_noise(table: pd.DataFrame, column: str) -> bool:
    """Return whether no two configurations differ in time or memory by more than repeats of one do, on any device.

    `column` is `train_seconds` or one of memory in GiB. Runs that ended ok count; of one configuration nothing is said.
    """
    rows, compared = table[table["status"] == Status.OK].dropna(subset=[column]), False
    for _, here in rows.groupby([name for name in ("device", "memory_metric") if name in rows], dropna=False):
        several = [one.index for _, one in here.groupby(_names(here), sort=False)]
        cost, every = _cost(here, several, column), np.arange(len(several))
        noise = [cost.noise(one, every) for one in range(len(several))]
        if (np.abs(cost.means[:, None] - cost.means) > noise).any():
            return False
        compared |= len(several) > 1
    return compared


def _cost(rows: pd.DataFrame, several: list[pd.Index], column: str) -> Axis:
    """Return the axis of a cost: of memory in GiB, of time in logarithms."""
    values = [rows.loc[places, column].to_numpy(float) for places in several]
    if column == "train_seconds":
        return axis_of([np.log(one) for one in values], NEGLIGIBLE_TIME)
    spread = SPREAD_GIB.get(rows["memory_metric"].iloc[0], 0)
    return axis_of(values, spread, spread)
