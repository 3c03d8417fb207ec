"""The split of rows into those that train and those that validate, with nothing that belongs together on both sides."""

import random
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from frontier.errors import UserError
from frontier.model.data.conversations import as_json
from frontier.model.data.rows import Row, prompt_of

# The share of a source's examples, or of its templates, that validates where the source has no split of its own.
VALIDATION_SHARE = 0.2


def without_repeats(rows: list[Row], known: Collection[str] = ()) -> list[Row]:
    """Return the rows, in their order, whose whole example is neither in `known`, as JSON, nor in an earlier row."""
    seen = set(known)
    kept = []
    for row in rows:
        whole = as_json(row.example)
        if whole not in seen:
            seen.add(whole)
            kept.append(row)
    return kept


def without_prompts(rows: list[Row], known: Collection[str]) -> list[Row]:
    """Return the rows whose prompt is not in `known`."""
    return [row for row in rows if prompt_of(row.example) not in known]


def prompts(rows: list[Row]) -> set[str]:
    """Return the rows' prompts."""
    return {prompt_of(row.example) for row in rows}


def shuffled(rows: list[Row], data: Mapping[str, Any]) -> list[Row]:
    """Return the rows in an order that data.split_seed draws; as they are with `split: order`."""
    if not _is_shuffled(data):
        return rows
    drawn = list(rows)
    random.Random(data["split_seed"]).shuffle(drawn)
    return drawn


def hold_out(rows: list[Row], wanted: int | None, data: Mapping[str, Any]) -> tuple[list[Row], list[Row]]:
    """Return the rows to train on and the rows to validate on, which are `wanted` or a fifth.

    Rows that share a prompt or a group are on one side. They are drawn by data.split_seed or, with `split: order`, the
    last ones; with a stratum each, every stratum gives its share. Where groups are large, fewer rows may validate than
    are wanted. Takes two rows at least. Raises UserError where one side would be empty.
    """
    size = wanted or int(len(rows) * VALIDATION_SHARE)
    if not 0 < size < len(rows):
        raise UserError(
            f"data.validation_examples: got {wanted or 'nothing'}, takes 1 to {len(rows) - 1} of "
            f"the {len(rows)} rows there are, or nothing for a fifth of five or more"
        )
    bundles = _bundles(rows)
    if len(bundles) == 1:
        key = "data.group_column: all rows share" if rows[0].group is not None else "data: all rows share"
        raise UserError(f"{key} one value or prompt, so that none can be held out; give data.validation_file")
    if _is_shuffled(data):
        random.Random(data["split_seed"]).shuffle(bundles)
    else:
        bundles.sort(key=lambda bundle: -bundle[-1])
    quotas = _quotas([rows[index] for bundle in bundles for index in bundle], size)
    held = _taken(bundles, quotas, rows) or set(sorted(bundles, key=lambda bundle: len(bundle))[0])
    order = [index for bundle in bundles for index in bundle] if _is_shuffled(data) else range(len(rows))
    return [rows[i] for i in order if i not in held], [rows[i] for i in order if i in held]


def _is_shuffled(data: Mapping[str, Any]) -> bool:
    return data.get("split", "order") == "shuffled"


def _taken(bundles: list[list[int]], quotas: dict[str | None, int], rows: list[Row]) -> set[int]:
    """Return the indices of the bundles that fit into what is still wanted of their stratum, in the bundles' order."""
    held: set[int] = set()
    left = dict(quotas)
    for bundle in bundles:
        stratum = rows[bundle[0]].stratum
        if len(bundle) <= left[stratum]:
            held |= set(bundle)
            left[stratum] -= len(bundle)
    return held


def _quotas(rows: list[Row], size: int) -> dict[str | None, int]:
    """Return how many rows of each stratum are to validate: by its share, the rest to those that lose most by it.

    Of strata that lose as much, those of the first rows come first.
    """
    counts: dict[str | None, int] = defaultdict(int)
    for row in rows:
        counts[row.stratum] += 1
    exact = {stratum: size * count / len(rows) for stratum, count in counts.items()}
    quotas = {stratum: int(share) for stratum, share in exact.items()}
    most_cut = sorted(exact, key=lambda stratum: quotas[stratum] - exact[stratum])
    for stratum in most_cut[: size - sum(quotas.values())]:
        quotas[stratum] += 1
    return quotas


def _bundles(rows: list[Row]) -> list[list[int]]:
    """Return the indices of rows that must be on one side, each list in order, by their first index."""
    first: dict[tuple[str, str], int] = {}
    parent = list(range(len(rows)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for index, row in enumerate(rows):
        keys = [("prompt", prompt_of(row.example))] + ([("group", row.group)] if row.group is not None else [])
        for key in keys:
            one, other = sorted((root(first.setdefault(key, index)), root(index)))
            parent[other] = one
    bundles: dict[int, list[int]] = defaultdict(list)
    for index in range(len(rows)):
        bundles[root(index)].append(index)
    return list(bundles.values())
